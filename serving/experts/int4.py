"""Multiplies rows by the matrices of a rank's experts, held as 4 bits in groups and never unpacked."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from serving.experts.matrices import Runs, runs_up_to, stacked
from serving.experts.quantise import Quantised, unpack_pairs


class Int4Matrices:
    def __init__(self, held: Sequence[Quantised], places: int = 0) -> None:
        """One [out, width] matrix of each held expert, all in groups of the same size; `out` a multiple of 16.

        Those beyond, up to `places`, are free.
        """
        # In torch's own order of codes, which depends on the processor: made when weights are loaded, never stored.
        codes = [torch._convert_weight_to_int4pack_for_cpu(unpack_pairs(one.codes).int(), 1) for one in held]
        self._codes = stacked(codes, places)  # uint8 [places, out, width / 2]
        # bf16 [places, groups, out, 2] with scales and zeros beside each other, or [places, groups, out, 1] without.
        self._scales = stacked([_scales(one) for one in held], places)
        self._zeros = None if self._scales.shape[-1] == 2 else torch.zeros_like(self._scales[0])
        self._size = 2 * self._codes.shape[2] // self._scales.shape[1]
        self._each = list(zip(self._codes.unbind(), self._scales.unbind(), strict=True))
        self.places, self._held = len(self._codes), len(held)
        self.parameters = 2 * self._codes[0].numel() * len(held)

    @property
    def bytes(self) -> int:
        """Of the held ones."""
        return (self._codes[0].nbytes + self._scales[0].nbytes) * self._held

    def put(self, place: int, others: Int4Matrices, number: int) -> None:
        self._codes[place], self._scales[place] = others._codes[number], others._scales[number]

    def by_runs(self, rows: Tensor, runs: Runs) -> Tensor:
        # The product is fast for bf16 rows only: with fp32 ones it takes many times longer.
        parts = rows.bfloat16().split_with_sizes([count for _, count in runs])
        pairs = zip(runs, parts, strict=True)
        return torch.cat([self._multiply(part, *self._each[place]) for (place, _), part in pairs]).float()

    def grouped(self, rows: Tensor, ends: Tensor) -> Tensor:
        # There is no one product for all. Unpacking a matrix first would pay from some hundred rows an expert on, and
        # only on processors with AVX2 and no more (docs/decisions/0023-four-bit-experts.md).
        return self.by_runs(rows, runs_up_to(ends))

    def gathered(self, rows: Tensor, places: Tensor) -> Tensor:
        parts = rows.bfloat16().unsqueeze(1).unbind()
        codes, scales = (held.index_select(0, places).unbind() for held in (self._codes, self._scales))
        return torch.cat([self._multiply(*one) for one in zip(parts, codes, scales, strict=True)]).float()

    def _multiply(self, rows: Tensor, codes: Tensor, scales: Tensor) -> Tensor:
        if self._zeros is not None:
            scales = torch.cat((scales, self._zeros), -1)  # for this product only: they would be bytes of every expert
        return torch._weight_int4pack_mm_for_cpu(rows, codes, self._size, scales)


def _scales(one: Quantised) -> Tensor:
    parts = (one.scales,) if one.zeros is None else (one.scales, one.zeros)
    return torch.stack(parts, dim=-1).transpose(0, 1).contiguous()
