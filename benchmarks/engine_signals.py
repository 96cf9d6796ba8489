"""What log-probabilities, entropies and the likeliest tokens add to a decode step, in a rank's processor time."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from serving.compiled.build import compile_piece
from serving.compiled.pieces import HeadPiece
from serving.model.checkpoint import Checkpoint
from serving.model.config import ModelConfig
from serving.model.likelihoods import logits

ROUNDS = 400


class GreedyPiece(torch.nn.Module):
    """What follows the last layer where nothing but the best token is wanted."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self._eps = config.norm_eps

    def forward(self, hidden: Tensor, norm: Tensor, head: Tensor) -> tuple[Tensor, ...]:
        return (logits(hidden, norm, head, self._eps).argmax(1),)


def measure(checkpoint: Checkpoint, step_seconds: dict[int, float]) -> dict[str, Any]:
    """`signals_share`: the largest over batches; `step_seconds` are of a whole step, by batch.

    A share is what the head costs more with all signals than with the best token alone. Gates' entropies are made
    within their layers, and are not told apart.
    """
    config, threads = checkpoint.config, torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad(), tempfile.TemporaryDirectory(prefix="countersign-signals-") as folder:
            added = {rows: _added(config, rows, Path(folder)) for rows in step_seconds}
    finally:
        torch.set_num_threads(threads)
    shares = {rows: seconds / step_seconds[rows] for rows, seconds in added.items()}
    return {
        "signals_share": round(max(shares.values()), 4),
        "signals_share_by_batch": {rows: round(share, 4) for rows, share in shares.items()},
        "signals_us_by_batch": {rows: round(1e6 * seconds, 1) for rows, seconds in added.items()},
    }


def _added(config: ModelConfig, rows: int, folder: Path) -> float:
    """Seconds a step."""
    whole = HeadPiece(config)
    given = whole.inputs(rows)
    runs = [_compiled(piece, given, folder / f"{name}-{rows}.pt2") for name, piece in _pieces(config, whole)]
    hidden = torch.randn(given[0].shape, generator=torch.Generator().manual_seed(0))
    with_all, greedy = _in_turn([lambda run=run: run.run([hidden, *given[1:]]) for run in runs])  # type: ignore[misc]
    return with_all - greedy


def _pieces(config: ModelConfig, whole: HeadPiece) -> Sequence[tuple[str, torch.nn.Module]]:
    return (("whole", whole), ("greedy", GreedyPiece(config)))


def _compiled(piece: torch.nn.Module, given: tuple[Tensor, ...], file: Path) -> Any:
    compile_piece(piece, given, file)
    return torch._inductor.aoti_load_package(str(file)).loader


def _in_turn(runs: Sequence[Callable[[], object]]) -> list[float]:
    """Seconds of this thread's processor, medians."""
    found: list[list[float]] = [[] for _ in runs]
    for _ in range(ROUNDS):
        for times, run in zip(found, runs, strict=True):
            began = time.thread_time()
            run()
            times.append(time.thread_time() - began)
    return [statistics.median(times) for times in found]
