"""Matrices of a rank's experts in 4 bits as checkpoints have them, multiplied by the operators in C++ in fp32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from serving.experts.matrices import Runs, gathered, runs_up_to, stacked
from serving.experts.quantise import Quantised, dequantise
from serving.kernels.products import few_rows_int4


@dataclass(frozen=True, slots=True)
class PlainInt4:
    """Needs serving.kernels.library loaded where it multiplies."""

    codes: Tensor  # uint8 [places, out, width / 2]: two codes a byte, the first in its low half
    scales: Tensor  # bf16 [places, out, groups, 1 or 2]: the scale, and the zero where there are zeros
    held: int  # places beyond are free

    @classmethod
    def of(cls, held: Sequence[Quantised], places: int = 0) -> Self:
        """One [out, width] matrix of each held expert, all in groups of the same size, and room for `places`."""
        codes, scales = (stacked(parts, places) for parts in ([one.codes for one in held], list(map(_scales, held))))
        return cls(codes, scales, len(held))

    @property
    def places(self) -> int:
        return len(self.codes)

    @property
    def parameters(self) -> int:
        return 2 * self.codes[0].numel() * self.held

    @property
    def bytes(self) -> int:
        """Of the held ones."""
        return (self.codes[0].nbytes + self.scales[0].nbytes) * self.held

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        return self.codes, self.scales

    def put(self, place: int, others: Self, number: int) -> None:
        self.codes[place], self.scales[place] = others.codes[number], others.scales[number]

    def by_runs(self, rows: Tensor, runs: Runs) -> Tensor:
        parts = rows.split_with_sizes([count for _, count in runs])
        pairs = zip(runs, parts, strict=True)
        return torch.cat([few_rows_int4(part, *self.tensors, place) for (place, _), part in pairs])

    def grouped(self, rows: Tensor, ends: Tensor) -> Tensor:
        return self.by_runs(rows, runs_up_to(ends))

    def gathered(self, rows: Tensor, places: Tensor) -> Tensor:
        codes, scales = (held.index_select(0, places) for held in self.tensors)
        zeros = scales[..., 1] if scales.shape[-1] == 2 else None
        return gathered(dequantise(Quantised(codes, scales[..., 0], zeros)), rows, torch.arange(len(rows)))


def _scales(one: Quantised) -> Tensor:
    return torch.stack((one.scales,) if one.zeros is None else (one.scales, one.zeros), dim=-1)
