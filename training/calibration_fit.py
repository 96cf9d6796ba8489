"""Fits a calibration: a shape for each signal by penalised logistic regression, then the map to probabilities."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from serving.confidence.calibration import Calibration
from serving.confidence.catalogue import SIGNALS
from serving.confidence.score import IsotonicMap, PlattMap, Points, Shape
from training.calibration_logistic import Problem
from training.calibration_rows import Row

Floats = NDArray[np.float64]

QUANTILES = (0.0, 0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 1.0)  # of own rows: where a shape may bend
FOREIGN_QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)  # and of foreign rows
MISSING_AT_LEAST = 20  # rows without a signal before its absence is understood
ISOTONIC_FROM = 500  # rows; fewer get Platt's two numbers
FOLDS = 5
# A prompt stranger than own questions never raises the score, and beyond all but EDGE of them nothing is known that
# could vouch for an answer: whatever the fit says, the score falls by FALL log-odds for each spread (edge to median).
FAMILIARITY = ("prompt_logprob_mean", "prompt_logprob_window")
EDGE, FALL, FALL_ENDS = 0.005, 8.0, 3.0  # the last in spreads


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
        xs = np.unique(np.concatenate([self.knots, self.cliff or ()]))
        fitted = np.concatenate([[0.0], np.cumsum(weights[: len(self.knots) - 1])])
        heights = np.interp(xs, self.knots, fitted) + self.fall(xs)
        points: Points = tuple((float(x), float(y)) for x, y in zip(xs, heights, strict=True))
        return Shape(self.signal, points, float(weights[-1]) if self.may_miss else None)


def fit(rows: Sequence[Row], model: str, penalty: float = 1.0, fitted_at: float | None = None) -> Calibration:
    """Fit score and map to `rows`, of which foreign ones count as wrong.

    Raises ValueError where there is nothing to learn from: no rows, or all right, or all wrong.
    """
    right = np.array([row.right and not row.foreign for row in rows], dtype=np.float64)
    if not len(rows) or right.min() == right.max():
        raise ValueError("a calibration needs both right and wrong answers")
    values = signal_table(rows)
    bases = _bases(values, np.array([row.foreign for row in rows]))
    design = np.column_stack([basis.columns(values[basis.signal]) for basis in bases])
    falls = np.sum([basis.fall(values[basis.signal]) for basis in bases], axis=0)
    problem = Problem(design, falls, right, penalty, _floors(bases))
    weights, intercept = problem.solve()
    unseen = problem.scores_out_of_fold(_folds(rows))
    return Calibration(
        model=model,
        shapes=_shapes(bases, weights),
        intercept=intercept,
        map=fit_map(unseen, right),
        fitted_at=time.time() if fitted_at is None else fitted_at,
        rows=len(rows),
        accuracy=float(right.mean()),
        signal_ranges=_ranges(values, np.array([row.foreign for row in rows])),
    )


def signal_table(rows: Sequence[Row]) -> dict[str, Floats]:
    """Each signal as a column [rows], NaN where missing."""
    return {
        name: np.array([np.nan if (v := row.signals.get(name)) is None else v for row in rows], dtype=np.float64)
        for name, _ in SIGNALS
    }


def fit_map(scores: Floats, right: Floats) -> PlattMap | IsotonicMap:
    """The monotone map from score to share of right answers; its ends stay off 0 and 1 by Laplace's rule."""
    if len(scores) < ISOTONIC_FROM:
        weights, offset = Problem(scores[:, None], np.zeros(len(scores)), right, 1e-3, [(0.0, None)]).solve()
        end = 1.0 / (len(scores) + 2)
        return PlattMap(slope=float(weights[0]), offset=offset, low=end, high=1.0 - end)
    bins = np.array_split(np.argsort(scores, kind="stable"), min(100, len(scores) // 50))
    centres = np.array([scores[part].mean() for part in bins])
    sizes = np.array([len(part) for part in bins], dtype=np.float64)
    rights = np.array([right[part].sum() for part in bins])
    _, step = np.unique(
        IsotonicRegression().fit_transform(centres, rights / sizes, sample_weight=sizes), return_inverse=True
    )
    # Each step of the staircase is smoothed by all of its rows, so that long steps may come close to 0 and 1.
    smooth = (np.bincount(step, rights) + 0.5) / (np.bincount(step, sizes) + 1.0)
    rising = np.maximum.accumulate(smooth[step])
    return IsotonicMap(tuple(dict(zip(centres.tolist(), rising.tolist(), strict=True)).items()))


def _bases(values: dict[str, Floats], foreign: NDArray[np.bool_]) -> list[Basis]:
    bases = []
    for name, column in values.items():
        known = ~np.isnan(column)
        familiar, strange = column[known & ~foreign], column[known & foreign]
        knots = np.unique(np.concatenate([_quantiles(familiar, QUANTILES), _quantiles(strange, FOREIGN_QUANTILES)]))
        if len(knots) < 2:
            continue
        may_miss = bool(np.sum(~known) >= MISSING_AT_LEAST)
        bases.append(Basis(name, knots, may_miss, *(_familiarity(knots, familiar) if name in FAMILIARITY else ())))
    return bases


def _familiarity(knots: Floats, familiar: Floats) -> tuple[int, tuple[float, float] | None]:
    """How many leading segments may not fall, and where the cliff lies."""
    if not len(familiar):
        return 0, None
    edge, middle = np.quantile(familiar, (EDGE, 0.5)).tolist()
    cliff = (edge, edge - FALL_ENDS * (middle - edge)) if middle > edge else None
    return int(np.sum(knots[1:] <= middle)), cliff


def _quantiles(values: Floats, at: Sequence[float]) -> Floats:
    return np.quantile(values, at) if len(values) else values


def _floors(bases: Sequence[Basis]) -> list[tuple[float | None, None]]:
    return [(0.0 if i < basis.rising else None, None) for basis in bases for i in range(basis.width)]


def _folds(rows: Sequence[Row]) -> NDArray[np.int64]:
    return np.array([hashlib.sha256((row.template or row.text).encode()).digest()[1] % FOLDS for row in rows])


def _shapes(bases: Sequence[Basis], weights: Floats) -> tuple[Shape, ...]:
    ends = np.cumsum([basis.width for basis in bases])
    parts = np.split(weights, ends[:-1])
    return tuple(basis.shape(part) for basis, part in zip(bases, parts, strict=True))


def _ranges(values: dict[str, Floats], foreign: NDArray[np.bool_]) -> dict[str, tuple[float, float, float]]:
    """Where a signal usually lies on familiar questions: 5th, 50th and 95th percentile."""
    ranges = {}
    for name, column in values.items():
        known = column[~foreign & ~np.isnan(column)]
        if len(known):
            low, middle, high = np.quantile(known, (0.05, 0.5, 0.95)).tolist()
            ranges[name] = (low, middle, high)
    return ranges
