"""Works out what the model held possible at every token of answers that it gave: all tokens, not only the best."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from benchmarks.confidence_outputs import Output
from training import tokens
from training.export import load

TOGETHER = 64  # answers in one padded pass
TOLERANCE = 0.02  # nats by which the engine's own log-probability of a token may differ


class Disagreement(Exception):
    """The passes do not give what the engine gave: another model, or other arithmetic."""


@torch.no_grad()
def write(checkpoint: Path, outputs: Sequence[Output], path: Path) -> Path:
    """Save log-probabilities [tokens of all greedy answers, vocabulary] as float32. Raises Disagreement."""
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
        for index, row, table in zip(chosen, rows, logprobs, strict=True):
            answer = len(outputs[index].greedy.tokens)
            found[index] = table[len(row) - answer - 1 : len(row) - 1].clone()
            _check(outputs[index], found[index])
    np.save(path, torch.cat(found).numpy())
    return path


def _ids(output: Output) -> list[int]:
    asked = tokens.prompt([tokens.Turn("user", output.question.text)])
    return [*asked, *(token.token_id for token in output.greedy.tokens)]


def _check(output: Output, table: torch.Tensor) -> None:
    given = torch.tensor([token.logprob for token in output.greedy.tokens])
    here = table[range(len(given)), [token.token_id for token in output.greedy.tokens]]
    apart = float((given - here).abs().max()) if len(given) else 0.0
    if apart > TOLERANCE:
        raise Disagreement(f"{output.question.text!r}: a token's log-probability differs by {apart:.3g} nats")
