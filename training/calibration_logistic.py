"""Logistic regression as calibrations need it: penalised, bounded from below, beside a part that is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """score = design @ weights + intercept + fixed, and the chance of being right is its sigmoid."""

    design: Floats  # [rows, columns]
    fixed: Floats  # [rows], log-odds
    right: Floats  # [rows]
    penalty: float
    floors: Sequence[tuple[float | None, None]]  # [columns]

    def solve(self) -> tuple[Floats, float]:
        """Weights [columns] and intercept that minimise the log-loss plus penalty/2 * |weights|^2."""
        start = np.zeros(self.design.shape[1] + 1)
        bounds = [*self.floors, (None, None)]
        found = minimize(self._loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 2000})
        return found.x[:-1], float(found.x[-1])

    def _loss(self, theta: Floats) -> tuple[float, Floats]:
        weights = theta[:-1]
        logits = self.design @ weights + theta[-1] + self.fixed
        wrongness = 1.0 / (1.0 + np.exp(-np.clip(logits, -500.0, 500.0))) - self.right
        value = np.logaddexp(0.0, logits).sum() - self.right @ logits + self.penalty / 2 * weights @ weights
        slope = np.concatenate([self.design.T @ wrongness + self.penalty * weights, [wrongness.sum()]])
        return float(value), slope

    def scores_out_of_fold(self, folds: NDArray[np.int64]) -> Floats:
        """Each row's score by weights that never saw its question."""
        scores = np.empty(len(self.right))
        for fold in np.unique(folds):
            out = folds == fold
            seen = Problem(self.design[~out], self.fixed[~out], self.right[~out], self.penalty, self.floors)
            weights, intercept = seen.solve()
            scores[out] = self.design[out] @ weights + intercept + self.fixed[out]
        return scores
