"""Knows the tokens one rank computes in a step: their positions, their places in the cache, who may see whom."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens start..start+count of one sequence and the blocks that hold it from its first token."""

    start: int
    count: int
    blocks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """Rows first..last of the batch that attend together: single tokens of many sequences, or one chunk."""

    first: int
    last: int
    queries: int  # tokens of each sequence: 1, or the chunk's length
    tables: Tensor  # [sequences, width] block numbers
    within_window: Tensor  # [sequences, 1, queries, width * block_size], 0 or -inf
    causal: Tensor  # the same without a window


@dataclass(frozen=True, slots=True)
class Batch:
    tokens: Tensor  # [rows]
    positions: Tensor  # [rows]
    slots: Tensor  # [rows]
    spans: tuple[Span, ...]
    counts: tuple[int, ...]  # rows of every rank in this step


def build_batch(
    tokens: Tensor, chunks: tuple[Chunk, ...], block_size: int, window: int, counts: tuple[int, ...]
) -> Batch:
    """Leading chunks of one token form one span; every other chunk is a span of its own."""
    single = next((place for place, chunk in enumerate(chunks) if chunk.count > 1), len(chunks))
    spans, first = [], 0
    groups = ([chunks[:single]] if single else []) + [(chunk,) for chunk in chunks[single:]]
    for group in groups:
        last = first + sum(chunk.count for chunk in group)
        spans.append(_span(first, last, group, block_size, window))
        first = last
    if not chunks:
        empty = torch.empty(0, dtype=torch.int64)
        return Batch(tokens, empty, empty, (), counts)
    positions = torch.cat([torch.arange(chunk.start, chunk.start + chunk.count) for chunk in chunks])
    slots = torch.cat([_slots(chunk, block_size) for chunk in chunks])
    return Batch(tokens, positions, slots, tuple(spans), counts)


def decode_span(positions: Tensor, tables: Tensor, block_size: int, window: int) -> Span:
    """Of one token a sequence: positions [sequences], tables [sequences, width]."""
    distance = positions.view(-1, 1, 1, 1) - torch.arange(tables.shape[1] * block_size)
    zero, hidden = torch.tensor(0.0), torch.tensor(float("-inf"))
    causal = torch.where(distance >= 0, zero, hidden)
    return Span(0, len(positions), 1, tables, torch.where(distance < window, causal, hidden), causal)


def _slots(chunk: Chunk, block_size: int) -> Tensor:
    position = torch.arange(chunk.start, chunk.start + chunk.count)
    return torch.tensor(chunk.blocks)[position // block_size] * block_size + position % block_size


def _span(first: int, last: int, group: tuple[Chunk, ...], block_size: int, window: int) -> Span:
    queries = group[0].count
    width = max(-(-(chunk.start + chunk.count) // block_size) for chunk in group)
    # Sequences shorter than the longest point to block 0 behind their end; the mask hides it.
    rows = [list(chunk.blocks[:width]) + [0] * (width - len(chunk.blocks)) for chunk in group]
    asking = torch.tensor([chunk.start for chunk in group]).view(-1, 1, 1, 1) + torch.arange(queries).view(1, 1, -1, 1)
    distance = asking - torch.arange(width * block_size)
    zero, hidden = torch.tensor(0.0), torch.tensor(float("-inf"))
    causal = torch.where(distance >= 0, zero, hidden)
    sees_all = width * block_size <= window
    within = causal if sees_all else torch.where(distance < window, causal, hidden)
    return Span(first, last, queries, torch.tensor(rows), within, causal)
