"""Knows the tokens one rank computes in a step: their positions, their places in the cache, who may see whom."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Chunks:
    """Of each sequence tokens start..start+count, and the blocks that hold it from its first token.

    Those of one token come first. Behind the blocks of a sequence shorter than others are any: the mask hides them.
    """

    starts: Integers  # [sequences]
    counts: Integers  # [sequences]
    tables: Integers  # [sequences, blocks]


class Span:
    """Rows first..last of the batch that attend together: single tokens of many sequences, or one chunk."""

    def __init__(self, first: int, last: int, positions: Tensor, tables: Tensor, block_size: int, window: int) -> None:
        """positions [sequences, queries]: one each, or a chunk's; tables [sequences, width] of blocks."""
        self.first, self.last, self.queries = first, last, positions.shape[1]
        self.tables, self.positions = tables, positions
        self.block_size, self.window = block_size, window
        self._causal: Tensor | None = None  # made when they are asked for: compiled steps make their own
        self._within: Tensor | None = None

    @property
    def causal(self) -> Tensor:
        """[sequences, 1, queries, width * block_size], 0 or -inf, without a window."""
        if self._causal is None:
            self._causal = _mask(self._distance() >= 0)
        return self._causal

    @property
    def within_window(self) -> Tensor:
        """Like `causal`, and no further back than the window."""
        if self._within is None:
            distance = self._distance()
            self._within = _mask((distance >= 0) & (distance < self.window))
        return self._within

    def _distance(self) -> Tensor:
        return self.positions[:, None, :, None] - torch.arange(self.tables.shape[1] * self.block_size)


def _mask(seen: Tensor) -> Tensor:
    return torch.where(seen, torch.tensor(0.0), torch.tensor(float("-inf")))


@dataclass(frozen=True, slots=True)
class Batch:
    tokens: Tensor  # [rows]
    positions: Tensor  # [rows]
    slots: Tensor  # [rows]
    spans: tuple[Span, ...]
    counts: tuple[int, ...]  # rows of every rank in this step


def build_batch(tokens: Tensor, chunks: Chunks, block_size: int, window: int, counts: tuple[int, ...]) -> Batch:
    """Chunks of one token form one span; every other chunk is a span of its own."""
    sequences = len(chunks.starts)
    if not sequences:
        empty = torch.empty(0, dtype=torch.int64)
        return Batch(tokens, empty, empty, (), counts)
    single = sequences if chunks.counts.max() == 1 else int((chunks.counts > 1).argmax())
    bounds = [0, *range(single or 1, sequences + 1)]
    spans, positions, slots, first = [], [], [], 0
    for begin, end in pairwise(bounds):
        at = chunks.starts[begin:end, None]
        if chunks.counts[begin] > 1:
            at = at + np.arange(chunks.counts[begin])
        blocks = at // block_size
        tables = np.ascontiguousarray(chunks.tables[begin:end, : blocks.max() + 1])
        last = first + at.size
        spans.append(Span(first, last, torch.from_numpy(at), torch.from_numpy(tables), block_size, window))
        positions.append(at.ravel())
        slots.append((tables[np.arange(end - begin)[:, None], blocks] * block_size + at - blocks * block_size).ravel())
        first = last
    return Batch(tokens, _joined(positions), _joined(slots), tuple(spans), counts)


def _joined(parts: list[Integers]) -> Tensor:
    return torch.from_numpy(parts[0] if len(parts) == 1 else np.concatenate(parts))
