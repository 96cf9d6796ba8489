"""Rounds matrices to 4 bits in groups along their inputs, and back: (code - 8) * scale + zero."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from serving.model.packing import Grouping

_MIDDLE, _HIGHEST = 8, 15
_SHARES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75)  # of a group's range: to cut off its ends may cost less


@dataclass(frozen=True, slots=True)
class Quantised:
    codes: Tensor  # uint8 [..., out, in / 2]: two codes a byte, the first in its low half
    scales: Tensor  # bf16 [..., out, groups]
    zeros: Tensor | None  # like scales; None: all are 0


def quantise(weight: Tensor, grouping: Grouping) -> Quantised:
    """[..., out, in] of floats. Of several ranges for each group the one with the least square error is taken.

    Raises ValueError when the inputs are no whole number of groups, or a weight is not finite.
    """
    if weight.shape[-1] % grouping.size:
        raise ValueError(f"{weight.shape[-1]} inputs are no whole number of groups of {grouping.size}")
    if not bool(torch.isfinite(weight).all()):
        raise ValueError("a weight is not finite")
    groups = weight.float().reshape(*weight.shape[:-1], -1, grouping.size)  # [..., out, groups, size]
    scale, zero = _whole_range(groups, zeros=grouping.zeros)
    best = _round(groups, scale, zero)
    for share in _SHARES[1:]:
        # The zero lies half a scale above the middle of the range: codes reach 8 below it and 7 above.
        narrower = zero + (share - 1) * scale / 2 if grouping.zeros else zero
        found = _round(groups, share * scale, narrower)
        better = found[0] < best[0]
        best = tuple(torch.where(better, new, old) for new, old in zip(found, best, strict=True))
    _, codes, scale, zero = best
    return Quantised(
        pack_pairs(codes.flatten(-2).to(torch.uint8)),
        scale.squeeze(-1).bfloat16(),
        zero.squeeze(-1).bfloat16() if grouping.zeros else None,
    )


def dequantise(quantised: Quantised) -> Tensor:
    """fp32 [..., out, in]."""
    codes, scales = unpack_pairs(quantised.codes), quantised.scales.float().unsqueeze(-1)
    values = (codes.float() - _MIDDLE).reshape(*scales.shape[:-1], -1) * scales
    if quantised.zeros is not None:
        values = values + quantised.zeros.float().unsqueeze(-1)
    return values.flatten(-2)


def pack_pairs(codes: Tensor) -> Tensor:
    """uint8 [..., n] of 0..15 → uint8 [..., n / 2]."""
    return codes[..., ::2] | codes[..., 1::2] << 4


def unpack_pairs(packed: Tensor) -> Tensor:
    """uint8 [..., n / 2] → uint8 [..., n] of 0..15."""
    return torch.stack((packed & 15, packed >> 4), dim=-1).flatten(-2)


def _whole_range(groups: Tensor, *, zeros: bool) -> tuple[Tensor, Tensor]:
    """Scale and zero that reach all of each group."""
    if not zeros:
        largest = groups.gather(-1, groups.abs().argmax(-1, keepdim=True))
        return largest / -_MIDDLE, torch.zeros_like(
            largest
        )  # the largest gets code 0, the one farthest from the middle
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    scale = (high - low) / _HIGHEST
    return scale, (low + high + scale) / 2


def _round(groups: Tensor, scale: Tensor, zero: Tensor) -> tuple[Tensor, ...]:
    """Square error, codes, and the scale and zero as bf16 stores them."""
    scale, zero = scale.bfloat16().float(), zero.bfloat16().float()
    codes = torch.round((groups - zero) / torch.where(scale == 0, 1.0, scale)).add_(_MIDDLE).clamp_(0, _HIGHEST)
    error = ((codes - _MIDDLE) * scale + zero - groups).square_().sum(-1, keepdim=True)
    return error, codes, scale, zero
