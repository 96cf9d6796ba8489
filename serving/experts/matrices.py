"""Knows the ways of multiplying rows by the matrices of a rank's experts, and does so for those held as floats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self

import torch
from torch import Tensor
from torch.nn.functional import grouped_mm, linear

from serving.model.huge_pages import in_huge_pages

Runs = Sequence[tuple[int, int]]  # (place of an expert, how many neighbouring rows are its own), in order of the rows


class Matrices(Protocol):
    """One matrix [out, in] at each place; an expert's place is its number among those that a rank holds."""

    @property
    def places(self) -> int:
        """Taken and free ones."""
        ...

    def put(self, place: int, others: Self, number: int) -> None:
        """Overwrites what is at `place` by what is at place `number` of `others`."""
        ...

    def by_runs(self, rows: Tensor, runs: Runs) -> Tensor:
        """fp32 [rows, in], an expert's rows beside each other → fp32 [rows, out]."""
        ...

    def grouped(self, rows: Tensor, ends: Tensor) -> Tensor:
        """Like by_runs; `ends` int32 [held]: behind each expert's last row."""
        ...

    def gathered(self, rows: Tensor, places: Tensor) -> Tensor:
        """fp32 [rows, in] and the place of each → fp32 [rows, out]; nothing depends on what the places are."""
        ...


class FloatMatrices:
    def __init__(self, weights: Tensor) -> None:
        """[places, out, in]."""
        self.stacked, self._turned = weights, weights.transpose(1, 2)
        self._each = weights.unbind()  # once: taking one out of a tensor costs as much as a small product
        self.places = len(weights)

    def put(self, place: int, others: FloatMatrices, number: int) -> None:
        self.stacked[place] = others.stacked[number]

    def by_runs(self, rows: Tensor, runs: Runs) -> Tensor:
        parts = rows.split_with_sizes([count for _, count in runs])
        return torch.cat([linear(part, self._each[place]) for (place, _), part in zip(runs, parts, strict=True)])

    def grouped(self, rows: Tensor, ends: Tensor) -> Tensor:
        return grouped_mm(rows, self._turned, offs=ends)

    def gathered(self, rows: Tensor, places: Tensor) -> Tensor:
        return gathered(self.stacked, rows, places)


def stacked(held: Sequence[Tensor], places: int) -> Tensor:
    """[places, …] with each of `held` at its place; memory of free ones is taken only once they are written."""
    stack = in_huge_pages(held[0].new_empty(max(places, len(held)), *held[0].shape))
    for place, one in enumerate(held):
        stack[place] = one
    return stack


def runs_up_to(ends: Tensor) -> Runs:
    """Of `ends` as `Matrices.grouped` has them."""
    counts = ends.diff(prepend=ends.new_zeros(1)).tolist()
    return [(place, count) for place, count in enumerate(counts) if count]


def gathered(weights: Tensor, rows: Tensor, places: Tensor) -> Tensor:
    """[held, out, in], [rows, in] and the place of each → [rows, out]: a batched product with one row a batch.

    As products and sums, which a compiler fuses with the gathering, so that nothing gathered is ever written down;
    torch.bmm compiles to the same and is slower where nothing is compiled.
    """
    return (weights[places] * rows.unsqueeze(1)).sum(-1)
