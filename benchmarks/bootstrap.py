"""Intervals of measures, by drawing whole questions anew: answers to one question stand or fall together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.measures import Floats, Values

Measure = Callable[[Floats, Floats], float]
DRAWS = 400


def intervals(
    measures: dict[str, Measure],
    confidence: Values,
    right: Values,
    questions: Sequence[str],
    level: float = 0.95,
    draws: int = DRAWS,
) -> dict[str, tuple[float, float]]:
    """The basic bootstrap interval of each measure; NaN where a measure is NaN on all draws (seeded).

    Basic, 2θ − θ* : a measure that noise can only raise, as ECE, is higher on every draw than on the rows themselves,
    and percentiles of the draws would carry that bias into the interval.
    """
    scores, labels = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    rng, groups = np.random.default_rng(0), _groups(questions)
    drawn: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(draws):
        rows = np.concatenate([groups[index] for index in rng.integers(len(groups), size=len(groups))])
        for name, measure in measures.items():
            drawn[name].append(measure(scores[rows], labels[rows]))
    return {name: _basic(measure(scores, labels), drawn[name], level) for name, measure in measures.items()}


def _basic(value: float, drawn: Sequence[float], level: float) -> tuple[float, float]:
    known = [draw for draw in drawn if draw == draw]
    if value != value or not known:
        return float("nan"), float("nan")
    outside = (1.0 - level) / 2.0
    low, high = np.quantile(known, (outside, 1.0 - outside)).tolist()
    return 2.0 * value - high, 2.0 * value - low


def _groups(questions: Sequence[str]) -> list[NDArray[np.int64]]:
    """The rows of each question."""
    _, group, sizes = np.unique(
        np.asarray(questions, dtype=object).astype(str), return_inverse=True, return_counts=True
    )
    return np.split(np.argsort(group, kind="stable"), np.cumsum(sizes)[:-1])
