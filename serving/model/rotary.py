"""Turns queries and keys by their positions; with YaRN, slow turns are slowed further for longer contexts."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from serving.model.config import Rope, Yarn


class Rotary:
    """Cosines and sines of every position, [context, 1, dims]; the sine carries rotate_half's sign."""

    def __init__(self, rope: Rope, context_length: int) -> None:
        angles = torch.arange(context_length).unsqueeze(1).float() * _frequencies(rope)
        amplitude = rope.yarn.amplitude if rope.yarn else 1.0
        cos, sin = angles.cos() * amplitude, angles.sin() * amplitude
        self._cos = torch.cat((cos, cos), -1).unsqueeze(1)
        self._sin = torch.cat((-sin, sin), -1).unsqueeze(1)

    @property
    def tables(self) -> tuple[Tensor, Tensor]:
        """Both, of every position."""
        return self._cos, self._sin

    def at(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        return self._cos[positions], self._sin[positions]


def rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """[tokens, heads, dims] turned by its position; pairs are half of `dims` apart."""
    half = heads.shape[-1] // 2
    swapped = torch.cat((heads[..., half:], heads[..., :half]), -1)
    return torch.addcmul(heads * cos, swapped, sin)


def _frequencies(rope: Rope) -> Tensor:
    """[dims / 2] radians a position."""
    powers = torch.arange(0, rope.dims, 2, dtype=torch.float32) / rope.dims
    # In transformers' order of rounding: at position 1,000 another order turns by 1e-4 rad more or less.
    periods = rope.theta**powers
    if rope.yarn is None:
        return 1.0 / periods
    kept = 1 - _slowed(rope, rope.yarn)
    return 1.0 / (rope.yarn.factor * periods) * (1 - kept) + 1.0 / periods * kept


def _slowed(rope: Rope, yarn: Yarn) -> Tensor:
    """[dims / 2] from 0 (kept) to 1 (slowed by the whole factor); YaRN, section 3.2."""

    def dimension(turns: float) -> float:
        return rope.dims * math.log(yarn.context / (turns * 2 * math.pi)) / (2 * math.log(rope.theta))

    low, high = dimension(yarn.fast), dimension(yarn.slow)
    if yarn.whole:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rope.dims - 1)
    ramp = (torch.arange(rope.dims // 2, dtype=torch.float32) - low) / (high - low if high != low else 0.001)
    return ramp.clamp(0, 1)
