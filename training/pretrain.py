"""Trains the reference model from scratch: seeded, resumable, with a progress bar."""

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AfmoeConfig, AfmoeForCausalLM

from training import run_state
from training.architecture import LoadBias, build, reference_config
from training.conversations import Batch, batch
from training.muon import Muon
from training.run_state import RunFacts

MATRIX_RATE, OTHER_RATE = 8e-3, 3e-3
WARMUP = 50


@dataclass
class Run:
    """A model in training with everything that must move along with it."""

    model: AfmoeForCausalLM
    optimizers: list[torch.optim.Optimizer]
    balance: LoadBias
    facts: RunFacts


def start(config: AfmoeConfig, facts: RunFacts, device: str, folder: Path, resume: bool) -> Run:
    """A fresh run, or the one that stopped in `folder`."""
    model = build(config, facts.seed).to(device).train()
    optimizers = make_optimizers(model)
    if resume and (folder / run_state.FACTS).exists():
        stopped = run_state.load(folder, model, optimizers)
        facts = replace(stopped, steps=facts.steps)
    return Run(model, optimizers, LoadBias(model), facts)


def make_optimizers(model: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the matrices between embedding and head, AdamW for all the rest."""
    stacked: list[nn.Parameter] = []
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2 or any(part in name for part in ("embed", "lm_head", "router")):
            others.append(parameter)
        else:
            (stacked if "gate_up" in name else matrices).append(parameter)
    muon = Muon([{"params": matrices}, {"params": stacked, "parts": 2}], lr=MATRIX_RATE)
    learnt = [parameter for parameter in others if parameter.requires_grad]
    return [muon, torch.optim.AdamW(learnt, lr=OTHER_RATE, betas=(0.9, 0.98), weight_decay=0.0)]


def rate(step: int, steps: int) -> float:
    """The share of the full learning rate: a short warm-up, level, then straight down to zero.

    Resuming a finished run with more steps lifts the rate back onto the longer schedule's slope.
    """
    level_until = int(0.4 * steps)
    falling = (steps - step) / max(1, steps - level_until)
    return min((step + 1) / WARMUP, 1.0, falling)


def predict(model: AfmoeForCausalLM, packed: Batch) -> Tensor:
    """Logits [rows, length, vocabulary]; chats packed into one row do not see each other."""
    # transformers would let each token see its whole row: afmoe does not tell chats apart by position.
    seen = dict.fromkeys(("sliding_attention", "full_attention"), packed.visible())
    logits: Tensor = model(packed.ids, seen, packed.positions, use_cache=False).logits
    return logits


def step_loss(model: AfmoeForCausalLM, packed: Batch) -> Tensor:
    """Weighted next-token loss of one batch."""
    logits = predict(model, packed)[:, :-1].flatten(0, 1)
    weights = packed.weights[:, 1:].flatten()
    losses = F.cross_entropy(logits, packed.ids[:, 1:].flatten(), reduction="none")
    return (losses * weights).sum() / weights.sum()


def train_step(run: Run, device: str) -> float:
    """One step: batch, loss, gradients, both optimizers, the load bias."""
    facts = run.facts
    packed = batch(facts.seed, facts.done, facts.rows, facts.length).to(device)
    began = time.perf_counter()
    for optimizer, full in zip(run.optimizers, (MATRIX_RATE, OTHER_RATE), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = full * rate(facts.done, facts.steps)
        optimizer.zero_grad()
    loss = step_loss(run.model, packed)
    loss.backward()  # type: ignore[no-untyped-call]
    for optimizer in run.optimizers:
        optimizer.step()
    run.balance.update()
    value = loss.item()
    done = facts.done + 1
    run.facts = replace(
        facts,
        done=done,
        seconds=facts.seconds + time.perf_counter() - began,
        tokens=facts.tokens + int((packed.weights > 0).sum()),
        loss=value,
        loss_at_100=value if done == 100 else facts.loss_at_100,
    )
    return value


@contextmanager
def progress(facts: RunFacts) -> Iterator[Progress]:
    """A bar with the loss, the speed and the time left."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns) as bar:
        bar.add_task("starting", total=facts.steps, completed=facts.done)
        yield bar


def pretrain(run: Run, device: str, folder: Path, save_every: int = 100, until: int | None = None) -> list[float]:
    """Train to the end of the schedule, or to step `until`; returns the losses seen."""
    losses: list[float] = []
    last = min(run.facts.steps, until or run.facts.steps)
    with progress(run.facts) as bar:
        while run.facts.done < last:
            losses.append(train_step(run, device))
            speed = run.facts.tokens / run.facts.seconds
            standing = f"loss {losses[-1]:.3f}, {speed:,.0f} tokens/s"
            bar.update(bar.task_ids[0], completed=run.facts.done, description=standing)
            if run.facts.done % save_every == 0 or run.facts.done == last:
                run_state.save(folder, run.model, run.optimizers, run.facts)
                bar.console.print(f"step {run.facts.done}: {standing}")
    return losses


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--until", type=int, help="stop early, to be resumed")
    options = parser.parse_args()
    if (options.out / run_state.FACTS).exists() and not options.resume:
        parser.error(f"{options.out} already holds a run: add --resume, or choose another folder")
    torch.set_num_threads(options.threads)
    facts = RunFacts(options.seed, options.steps, options.rows, options.length)
    run = start(reference_config(), facts, options.device, options.out, options.resume)
    pretrain(run, options.device, options.out, until=options.until)


if __name__ == "__main__":
    main()
