"""Works out what the model held possible at every token of answers that it gave: all tokens, not only the best."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from benchmarks.confidence_outputs import Output
from serving.model.checkpoint import open_checkpoint
from training import tokens
from training.export import load

TOGETHER = 64  # answers in one padded pass
TOLERANCE = 0.02  # nats by which the engine's own log-probability of a token may differ


class Disagreement(Exception):
    """The passes do not give what the engine gave: another model, or other arithmetic."""


def distributions(checkpoint: Path, outputs: Sequence[Output], folder: Path) -> Path:
    """A file of log-probabilities [tokens of all greedy answers, vocabulary], float32; kept for the same answers.

    Raises Disagreement.
    """
    told = repr([open_checkpoint(checkpoint).model_id, *map(_ids, outputs)])
    path = folder / f"distributions-{hashlib.sha256(told.encode()).hexdigest()[:16]}.npy"
    if not path.exists():
        unfinished = path.with_suffix(".new.npy")
        np.save(unfinished, _table(checkpoint, outputs))
        unfinished.replace(path)
    return path


@torch.no_grad()
def _table(checkpoint: Path, outputs: Sequence[Output]) -> NDArray[np.float32]:
    model = load(checkpoint)
    found: list[torch.Tensor] = [torch.empty(0)] * len(outputs)
    order = sorted(range(len(outputs)), key=lambda index: len(_ids(outputs[index])))
    starts = range(0, len(order), TOGETHER)
    for start in track(starts, "distributions", console=Console(stderr=True)):
        chosen = order[start : start + TOGETHER]
        rows = [_ids(outputs[index]) for index in chosen]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [tokens.PAD] * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        logprobs = torch.log_softmax(model(input_ids=ids, attention_mask=mask).logits.float(), dim=-1)
        for index, row, of_row in zip(chosen, rows, logprobs, strict=True):
            answer = len(outputs[index].greedy.tokens)
            found[index] = of_row[len(row) - answer - 1 : len(row) - 1].clone()
            _check(outputs[index], found[index])
    table: NDArray[np.float32] = torch.cat(found).numpy()
    return table


def _ids(output: Output) -> list[int]:
    asked = tokens.prompt([tokens.Turn("user", output.question.text)])
    return [*asked, *(token.token_id for token in output.greedy.tokens)]


def _check(output: Output, table: torch.Tensor) -> None:
    given = torch.tensor([token.logprob for token in output.greedy.tokens])
    here = table[range(len(given)), [token.token_id for token in output.greedy.tokens]]
    apart = float((given - here).abs().max()) if len(given) else 0.0
    if apart > TOLERANCE:
        raise Disagreement(f"{output.question.text!r}: a token's log-probability differs by {apart:.3g} nats")
