"""Adds up what each signal says, in log-odds, and maps the sum to a probability."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Points = tuple[tuple[float, float], ...]  # (x, y), x strictly rising: straight lines between, flat outside


@dataclass(frozen=True, slots=True)
class Shape:
    """What one signal adds to the score, in log-odds."""

    signal: str
    points: Points
    missing: float | None  # added when the signal is None; None: it never was when fitting, so nothing vouches for it


@dataclass(frozen=True, slots=True)
class PlattMap:
    """p = sigmoid(slope * score + offset), kept within [low, high]."""

    slope: float
    offset: float
    low: float
    high: float

    def probability(self, score: float) -> float:
        return min(self.high, max(self.low, sigmoid(self.slope * score + self.offset)))


@dataclass(frozen=True, slots=True)
class IsotonicMap:
    """p by straight lines between points that never fall."""

    points: Points

    def probability(self, score: float) -> float:
        return interpolate(self.points, score)


Map = PlattMap | IsotonicMap


def fuse(signals: Mapping[str, float | None], shapes: Sequence[Shape], intercept: float) -> float:
    """The score in log-odds. Raises KeyError for a missing signal that no rule covers (see `unvouched`)."""
    score = intercept
    for shape in shapes:
        value = signals.get(shape.signal)
        if value is not None:
            score += interpolate(shape.points, value)
        elif shape.missing is not None:
            score += shape.missing
        else:
            raise KeyError(shape.signal)
    return score


def unvouched(signals: Mapping[str, float | None], shapes: Sequence[Shape]) -> list[str]:
    """Signals that are missing here and never were when fitting."""
    return [shape.signal for shape in shapes if shape.missing is None and signals.get(shape.signal) is None]


def interpolate(points: Points, x: float) -> float:
    """y at x; the first or last y outside the points. x must not be NaN."""
    after = bisect_right(points, (x, math.inf))
    if after == 0:
        return points[0][1]
    if after == len(points):
        return points[-1][1]
    (x0, y0), (x1, y1) = points[after - 1], points[after]
    return y0 + (y1 - y0) * ((x - x0) / (x1 - x0))


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)) without overflow."""
    if x >= 0.0:
        return 1.0 / (1.0 + math.exp(-x))
    rising = math.exp(x)
    return rising / (1.0 + rising)
