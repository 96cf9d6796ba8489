"""How long the attention of a prompt of 4,096 tokens takes: fused, and with all scores written down."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.engine_model import Shape
from serving.model.attention import attend

TOKENS, CHUNK, ROUNDS = 4096, 256, 5
Attend = Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]


def measure(shape: Shape | None = None) -> dict[str, Any]:
    """`attention_saving`: the share of plain attention's time that the fused one saves when a prompt is one step;
    `attention_saving_chunked`: the same when it comes in chunks, as the engine's default has it. One layer, one thread.
    """
    given, threads = _Prompt(shape or Shape()), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            seconds = {
                name: _seconds(lambda ways=ways, size=size: given.run(ways, size))  # type: ignore[misc]
                for name, ways, size in (
                    ("plain", plain, TOKENS),
                    ("fused", attend, TOKENS),
                    ("plain_chunked", plain, CHUNK),
                    ("fused_chunked", attend, CHUNK),
                )
            }
            difference = (given.run(plain, CHUNK) - given.run(attend, CHUNK)).abs().max()
    finally:
        torch.set_num_threads(threads)
    return {
        "attention_saving": round(1 - seconds["fused"] / seconds["plain"], 3),
        "attention_saving_chunked": round(1 - seconds["fused_chunked"] / seconds["plain_chunked"], 3),
        "attention_ms": {name: round(1e3 * value, 1) for name, value in seconds.items()},
        "attention_difference": float(difference),
    }


def plain(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float) -> Tensor:
    """As `serving.model.attention.attend`, of one sequence: every score is written down."""
    count, heads, _ = queries.shape
    keys, values = (each.repeat_interleave(heads // each.shape[1], 1) for each in (keys, values))
    scores = torch.matmul(queries.transpose(0, 1).unsqueeze(0), keys.transpose(2, 3)) * scale + mask
    return torch.matmul(torch.softmax(scores, -1), values).transpose(1, 2).reshape(count, -1)


class _Prompt:
    def __init__(self, shape: Shape) -> None:
        draw = torch.Generator().manual_seed(0)
        self._queries = torch.randn(TOKENS, shape.heads, shape.head_dim, generator=draw)
        sizes = (1, shape.kv_heads, TOKENS, shape.head_dim)
        self._keys, self._values = (torch.randn(sizes, generator=draw) for _ in range(2))
        place = torch.arange(TOKENS)
        seen = place.unsqueeze(1) >= place
        self._mask = torch.where(seen, torch.tensor(0.0), torch.tensor(float("-inf"))).view(1, 1, TOKENS, TOKENS)
        self._scale = shape.head_dim**-0.5

    def run(self, ways: Attend, size: int) -> Tensor:
        """In chunks of `size`, each after all before it."""
        parts = []
        for first in range(0, TOKENS, size):
            end = first + size
            keys, values = self._keys[:, :, :end], self._values[:, :, :end]
            mask = self._mask[:, :, first:end, :end]
            parts.append(ways(self._queries[first:end], keys, values, mask, self._scale))
        return torch.cat(parts)


def _seconds(run: Callable[[], Tensor]) -> float:
    """Of this thread's processor, the median after a first time."""
    run()
    found = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        run()
        found.append(time.thread_time() - began)
    return statistics.median(found)
