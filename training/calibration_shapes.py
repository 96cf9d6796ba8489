"""Turns signals into columns of a regression: for each signal the segments of one piecewise-linear shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.confidence.catalogue import SIGNALS
from serving.confidence.score import Points, Shape
from training.calibration_rows import Row

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

QUANTILES = (0.0, 0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 1.0)  # of own rows: where a shape may bend
FOREIGN_QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)  # and of foreign rows
MISSING_AT_LEAST = 20  # rows without a signal before its absence is understood
# A prompt stranger than own questions never raises the score, and beyond all but EDGE of them nothing is known that
# could vouch for an answer: whatever the fit says, the score falls by FALL log-odds for each spread (edge to median).
FAMILIARITY = ("prompt_logprob_mean", "prompt_logprob_window")
EDGE, FALL, FALL_ENDS = 0.005, 8.0, 3.0  # the last in spreads
AGREEMENT = "agreement"  # the more samples say the same, the surer


@dataclass(frozen=True)
class Basis:
    """One signal's columns of the design: its segments from knot to knot, and whether it may be missing."""

    signal: str
    knots: Floats  # [segments + 1], strictly rising
    may_miss: bool
    rising: int = 0  # this many leading segments may not fall
    cliff: tuple[float, float] | None = None  # below the first, the score falls until the second

    @property
    def width(self) -> int:
        return len(self.knots) - 1 + self.may_miss

    def columns(self, values: Floats) -> Floats:
        """[rows, width]: how far a value has come through each segment, 0..1; missing ones are NaN in `values`."""
        missing = np.isnan(values)
        known = np.where(missing, self.knots[0], values)[:, None]
        through = np.clip((known - self.knots[:-1]) / np.diff(self.knots), 0.0, 1.0)
        through[missing] = 0.0
        return np.column_stack([through, missing]) if self.may_miss else through

    def fall(self, values: Floats) -> Floats:
        """[rows]: what is taken off whatever the fit says; 0 or less, and 0 where the signal is missing."""
        if self.cliff is None:
            return np.zeros(len(values))
        edge, end = self.cliff
        return np.nan_to_num(FALL * FALL_ENDS * -np.clip((edge - values) / (edge - end), 0.0, 1.0))

    def shape(self, weights: Floats) -> Shape:
        """The fitted rises and the fall as one piecewise-linear function."""
        xs = _distinct([*self.knots, *(self.cliff or ())])
        fitted = np.concatenate([[0.0], np.cumsum(weights[: len(self.knots) - 1])])
        heights = np.interp(xs, self.knots, fitted) + self.fall(xs)
        points: Points = tuple((float(x), rounded(y)) for x, y in zip(xs, heights, strict=True))
        return Shape(self.signal, points, rounded(weights[-1]) if self.may_miss else None)


def signal_table(rows: Sequence[Row]) -> dict[str, Floats]:
    """Each signal as a column [rows], NaN where missing."""
    return {
        name: np.array([np.nan if (v := row.signals.get(name)) is None else v for row in rows], dtype=np.float64)
        for name, _ in SIGNALS
    }


def bases_of(values: Mapping[str, Floats], foreign: Bools) -> list[Basis]:
    """One basis for each signal that says anything."""
    bases = []
    for name, column in values.items():
        known = ~np.isnan(column)
        familiar, strange = column[known & ~foreign], column[known & foreign]
        knots = _distinct([*_quantiles(familiar, QUANTILES), *_quantiles(strange, FOREIGN_QUANTILES)])
        if len(knots) < 2:
            continue
        may_miss = bool(np.sum(~known) >= MISSING_AT_LEAST)
        bases.append(Basis(name, knots, may_miss, *(_familiarity(knots, familiar) if name in FAMILIARITY else ())))
    return bases


def agreement_basis(samples: int) -> Basis:
    """May bend at each share that so many samples can give, and never falls."""
    return Basis(AGREEMENT, np.arange(samples + 1) / samples, may_miss=False, rising=samples)


def design_of(bases: Sequence[Basis], values: Mapping[str, Floats]) -> Floats:
    """[rows, columns of all bases]"""
    return np.column_stack([basis.columns(values[basis.signal]) for basis in bases])


def falls_of(bases: Sequence[Basis], values: Mapping[str, Floats]) -> Floats:
    """[rows]: what is taken off whatever the fit says."""
    falls: Floats = np.sum([basis.fall(values[basis.signal]) for basis in bases], axis=0)
    return falls


def floors_of(bases: Sequence[Basis]) -> Floats:
    """[columns]: the least that each weight may be."""
    return np.array([0.0 if i < basis.rising else -np.inf for basis in bases for i in range(basis.width)])


def shapes_of(bases: Sequence[Basis], weights: Floats) -> tuple[Shape, ...]:
    ends = np.cumsum([basis.width for basis in bases])
    parts = np.split(weights, ends[:-1])
    return tuple(basis.shape(part) for basis, part in zip(bases, parts, strict=True))


def ranges_of(values: Mapping[str, Floats], foreign: Bools) -> dict[str, tuple[float, float, float]]:
    """Where a signal usually lies on familiar questions: 5th, 50th and 95th percentile."""
    ranges = {}
    for name, column in values.items():
        known = column[~foreign & ~np.isnan(column)]
        if len(known):
            low, middle, high = np.quantile(known, (0.05, 0.5, 0.95)).tolist()
            ranges[name] = (low, middle, high)
    return ranges


def rounded(value: float) -> float:
    """Twelve digits: more are noise, and would double a calibration's size on its way."""
    return float(f"{value:.12g}")


def _distinct(values: Sequence[float]) -> Floats:
    """In order and as written: what only differs in its last bits would make a segment of no length."""
    return np.unique([rounded(value) for value in values])


def _familiarity(knots: Floats, familiar: Floats) -> tuple[int, tuple[float, float] | None]:
    """How many leading segments may not fall, and where the cliff lies."""
    if not len(familiar):
        return 0, None
    edge, middle = np.quantile(familiar, (EDGE, 0.5)).tolist()
    cliff = (edge, edge - FALL_ENDS * (middle - edge)) if middle > edge else None
    return int(np.sum(knots[1:] <= middle)), cliff


def _quantiles(values: Floats, at: Sequence[float]) -> Floats:
    return np.quantile(values, at) if len(values) else values
