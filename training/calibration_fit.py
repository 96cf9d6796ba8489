"""Fits a calibration: a shape for each signal by penalised logistic regression, then the map to probabilities."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from serving.confidence.calibration import Calibration
from serving.confidence.catalogue import SIGNALS
from serving.confidence.score import IsotonicMap, PlattMap, Points, Shape
from training.calibration_rows import Row

Floats = NDArray[np.float64]

QUANTILES = (0.0, 0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 1.0)  # of own rows: where a shape may bend
FOREIGN_QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)  # and of foreign rows
MISSING_AT_LEAST = 20  # rows without a signal before its absence is understood
ISOTONIC_FROM = 500  # rows; fewer get Platt's two numbers
FOLDS = 5
# Below what is familiar, a stranger prompt never raises the score.
NEVER_RAISES = ("prompt_logprob_mean", "prompt_logprob_window")


@dataclass(frozen=True)
class Basis:
    """One signal's columns of the design: its segments from knot to knot, and whether it may be missing."""

    signal: str
    knots: Floats  # [segments + 1], strictly rising
    may_miss: bool
    rising: int  # this many leading segments may not fall

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

    def shape(self, weights: Floats) -> Shape:
        """The fitted rises as a piecewise-linear function, 0 at the first knot."""
        rises = weights[: len(self.knots) - 1]
        heights = np.concatenate([[0.0], np.cumsum(rises)])
        points: Points = tuple((float(x), float(y)) for x, y in zip(self.knots, heights, strict=True))
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
    floors = _floors(bases)
    weights, intercept = _logistic(design, right, penalty, floors)
    unseen = _scores_out_of_fold(design, right, penalty, floors, _folds(rows))
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
        weights, offset = _logistic(scores[:, None], right, 1e-3, [(0.0, None)])
        end = 1.0 / (len(scores) + 2)
        return PlattMap(slope=float(weights[0]), offset=offset, low=end, high=1.0 - end)
    order = np.argsort(scores, kind="stable")
    bins = np.array_split(order, min(100, len(scores) // 50))
    centres = np.array([scores[part].mean() for part in bins])
    shares = np.array([(right[part].sum() + 0.5) / (len(part) + 1) for part in bins])
    sizes = np.array([len(part) for part in bins], dtype=np.float64)
    rising = IsotonicRegression().fit_transform(centres, shares, sample_weight=sizes)
    points = dict(zip(centres.tolist(), rising.tolist(), strict=True))  # equal scores collapse to their last
    return IsotonicMap(tuple(points.items()))


def _bases(values: dict[str, Floats], foreign: NDArray[np.bool_]) -> list[Basis]:
    bases = []
    for name, column in values.items():
        known = ~np.isnan(column)
        familiar, strange = column[known & ~foreign], column[known & foreign]
        knots = np.unique(np.concatenate([_quantiles(familiar, QUANTILES), _quantiles(strange, FOREIGN_QUANTILES)]))
        if len(knots) < 2:
            continue
        rising = int(np.sum(knots[1:] <= np.median(familiar))) if name in NEVER_RAISES and len(familiar) else 0
        bases.append(Basis(name, knots, bool(np.sum(~known) >= MISSING_AT_LEAST), rising))
    return bases


def _quantiles(values: Floats, at: Sequence[float]) -> Floats:
    return np.quantile(values, at) if len(values) else values


def _floors(bases: Sequence[Basis]) -> list[tuple[float | None, None]]:
    return [(0.0 if i < basis.rising else None, None) for basis in bases for i in range(basis.width)]


def _logistic(
    design: Floats, right: Floats, penalty: float, floors: Sequence[tuple[float | None, None]]
) -> tuple[Floats, float]:
    """Weights [columns] and intercept that minimise the log-loss plus penalty/2 * |weights|^2, above their floors."""

    def loss(theta: Floats) -> tuple[float, Floats]:
        logits = design @ theta[:-1] + theta[-1]
        wrongness = 1.0 / (1.0 + np.exp(-np.clip(logits, -500, 500))) - right
        value = np.logaddexp(0.0, logits).sum() - right @ logits + penalty / 2 * theta[:-1] @ theta[:-1]
        slope = np.concatenate([design.T @ wrongness + penalty * theta[:-1], [wrongness.sum()]])
        return float(value), slope

    start = np.zeros(design.shape[1] + 1)
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=[*floors, (None, None)], options={"maxiter": 2000}
    )
    return found.x[:-1], float(found.x[-1])


def _scores_out_of_fold(
    design: Floats, right: Floats, penalty: float, floors: Sequence[tuple[float | None, None]], folds: NDArray[np.int64]
) -> Floats:
    """Each row's score by weights that never saw its question."""
    scores = np.empty(len(right))
    for fold in range(FOLDS):
        out = folds == fold
        weights, intercept = _logistic(design[~out], right[~out], penalty, floors)
        scores[out] = design[out] @ weights + intercept
    return scores


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
