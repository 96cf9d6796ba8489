"""Logistic regression as calibrations need it: penalised, bounded from below, beside a part that is given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_MOST_STEPS, _MOST_HALVINGS = 60, 30
_STEEP = 1e-6  # log-odds a row: a flatter slope is level ground


@dataclass(frozen=True)
class Weights:
    """What was fitted: one weight a column, and the intercept."""

    columns: Floats
    intercept: float

    def scores(self, design: Floats, fixed: Floats) -> Floats:
        """[rows], log-odds"""
        found: Floats = design @ self.columns + self.intercept + fixed
        return found


@dataclass(frozen=True)
class Problem:
    """score = design @ weights + intercept + fixed, and the chance of being right is its sigmoid."""

    design: Floats  # [rows, columns]
    fixed: Floats  # [rows], log-odds
    right: Floats  # [rows]
    penalty: float
    floors: Floats  # [columns]: the least that each weight may be
    centre: Floats | None = None  # [columns]: what the penalty draws weights towards; None: nought

    def solve(self, start: Weights | None = None) -> Weights:
        """Minimise the log-loss plus penalty/2 * |weights - centre|^2, by projected Newton steps (Bertsekas, 1982)."""
        design = np.column_stack([self.design, np.ones(len(self.right))])
        floors = np.append(self.floors, -np.inf)
        centre = np.append(np.zeros(len(self.floors)) if self.centre is None else self.centre, 0.0)
        drawn = np.append(np.full(len(self.floors), self.penalty), 0.0)
        theta = np.maximum(np.append(start.columns, start.intercept) if start else centre, floors)
        value, slope, spread = self._loss(design, theta, centre, drawn)
        for _ in range(_MOST_STEPS):
            free = (theta > floors) | (slope < 0.0)
            if np.max(np.abs(slope[free]), initial=0.0) <= _STEEP * len(self.right):
                break
            step = _newton_step(design[:, free], slope[free], spread, drawn[free])
            moved = self._moved(design, theta, (centre, drawn, floors), (value, slope), free, step)
            if moved is None:
                break
            theta, (value, slope, spread) = moved
        return Weights(theta[:-1], float(theta[-1]))

    def folds(
        self, folds: NDArray[np.int64], whole: Weights, centres: dict[int, Floats] | None = None
    ) -> dict[int, Weights]:
        """Weights that never saw a fold, by fold; `whole` is where the search starts."""
        found = {}
        for fold in np.unique(folds).tolist():
            seen = folds != fold
            centre = centres[fold] if centres else self.centre
            part = Problem(self.design[seen], self.fixed[seen], self.right[seen], self.penalty, self.floors, centre)
            found[fold] = part.solve(whole)
        return found

    def unseen(self, folds: NDArray[np.int64], by_fold: dict[int, Weights]) -> Floats:
        """Each row's score by weights that never saw its question."""
        scores = np.empty(len(self.right))
        for fold, weights in by_fold.items():
            out = folds == fold
            scores[out] = weights.scores(self.design[out], self.fixed[out])
        return scores

    def _loss(self, design: Floats, theta: Floats, centre: Floats, drawn: Floats) -> tuple[float, Floats, Floats]:
        """The loss at `theta`, its slope [columns], and each row's variance [rows]."""
        logits = design @ theta + self.fixed
        chance = 1.0 / (1.0 + np.exp(-np.clip(logits, -500.0, 500.0)))
        away = theta - centre
        value = np.logaddexp(0.0, logits).sum() - self.right @ logits + 0.5 * drawn @ away**2
        return float(value), design.T @ (chance - self.right) + drawn * away, chance * (1.0 - chance)

    def _moved(
        self,
        design: Floats,
        theta: Floats,
        terms: tuple[Floats, Floats, Floats],
        here: tuple[float, Floats],
        free: NDArray[np.bool_],
        step: Floats,
    ) -> tuple[Floats, tuple[float, Floats, Floats]] | None:
        """The first point of the shortening step that lies enough lower (Armijo); None where there is none."""
        (centre, drawn, floors), (value, slope) = terms, here
        for halving in range(_MOST_HALVINGS):
            there = theta.copy()
            there[free] = np.maximum(theta[free] - step / 2**halving, floors[free])
            found = self._loss(design, there, centre, drawn)
            if found[0] <= value - 1e-4 * slope @ (theta - there):
                return there, found
        return None


def _newton_step(design: Floats, slope: Floats, spread: Floats, drawn: Floats) -> Floats:
    scaled = design * np.sqrt(spread)[:, None]
    curvature = scaled.T @ scaled
    curvature[np.diag_indices_from(curvature)] += drawn + 1e-9
    return np.asarray(np.linalg.solve(curvature, slope), dtype=np.float64)
