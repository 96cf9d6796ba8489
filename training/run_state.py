"""Keeps a training run on disk as safetensors, so that it continues exactly where it stopped."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

WEIGHTS, MOMENTS, FACTS = "weights.safetensors", "moments.safetensors", "run.json"


@dataclass(frozen=True)
class RunFacts:
    """What a run was asked for and where it stands."""

    seed: int
    steps: int  # the whole schedule
    rows: int
    length: int
    done: int = 0
    seconds: float = 0.0  # spent in training steps, over all resumptions
    tokens: int = 0  # learnt from, padding left out
    loss: float | None = None
    loss_at_100: float | None = None


def save(folder: Path, model: nn.Module, optimizers: list[torch.optim.Optimizer], facts: RunFacts) -> None:
    """Write the run's state; facts come last, and each file replaces its forerunner whole."""
    folder.mkdir(parents=True, exist_ok=True)
    moments = {
        f"{o}.{p}.{key}": value.contiguous()
        for o, optimizer in enumerate(optimizers)
        for p, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    mark = {"done": str(facts.done)}  # all three files must speak of the same step
    for name, tensors in ((WEIGHTS, weights), (MOMENTS, moments)):
        save_file(tensors, folder / f"{name}.new", metadata=mark)
    (folder / f"{FACTS}.new").write_text(json.dumps(asdict(facts), indent=2) + "\n")
    for name in (WEIGHTS, MOMENTS, FACTS):
        os.replace(folder / f"{name}.new", folder / name)


def read_facts(folder: Path) -> RunFacts:
    """Where the run in `folder` stands; raises FileNotFoundError where there is none."""
    return RunFacts(**json.loads((folder / FACTS).read_text()))


def load(folder: Path, model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> RunFacts:
    """Put weights and moments back in place and return the run's facts."""
    model.load_state_dict(load_file(folder / WEIGHTS))
    moments = load_file(folder / MOMENTS)
    for o, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in moments.items():
            owner, parameter, key = name.split(".")
            if int(owner) == o:
                state.setdefault(int(parameter), {})[key] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return read_facts(folder)
