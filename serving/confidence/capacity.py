"""Weighs reviewers' hours against an error budget: the threshold that meets both, or the statement that none does.

What it says is a prediction from labelled answers, for planning; what bounds the risk of a release is the certificate.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

from serving.confidence.learn_then_test import Labelled

LEAST_LABELS = 30  # at or above a threshold; with fewer its risk is not predicted
STEPS = 100


@dataclass(frozen=True)
class Point:
    """What one threshold is predicted to do."""

    threshold: float
    review_rate: float  # share of asks that a person reads
    released_risk: float | None  # share of wrong answers among those released; None: too few labels there
    reviews_per_day: float | None  # None while the asks per day are unknown


@dataclass(frozen=True)
class Capacity:
    """The advice, and the curve it was read from."""

    feasible: bool
    why: str  # one sentence
    threshold: float | None  # the one advised, or where infeasible the one that comes nearest
    review_rate: float | None
    released_risk: float | None
    reviews_per_day: float | None
    capacity_per_day: float  # answers that the reviewers can read
    curve: tuple[Point, ...]


@dataclass(frozen=True)
class _Wish:
    per_day: float
    error_budget: float | None
    asks_per_day: float | None


def capacity(
    rows: Sequence[Labelled],
    *,
    reviewer_hours: float,
    minutes_per_item: float,
    error_budget: float | None = None,
    asks_per_day: float | None = None,
    audit_share: float = 0.0,
) -> Capacity:
    """The loosest threshold within the error budget, if its reviews fit the hours of a day.

    `rows` are labelled answers of all confidences, each weighing 1/π. `audit_share` of what is released is read too.
    Without an error budget: the strictest threshold whose reviews fit. Without the asks per day: the loosest within
    the budget, and how many asks the hours then carry. Raises ValueError naming an argument that is out of range.
    """
    _refuse(reviewer_hours, minutes_per_item, error_budget, asks_per_day, audit_share)
    wish = _Wish(reviewer_hours * 60.0 / minutes_per_item, error_budget, asks_per_day)
    curve = _curve(rows, asks_per_day, audit_share) if rows else ()
    known = [point for point in curve if point.released_risk is not None]
    if not known:
        return _advice(None, False, f"{len(rows)} labelled answers are too few to predict from.", wish, curve)
    if error_budget is None and asks_per_day is None:
        return _advice(None, False, "Name an error budget, or the asks per day, to be advised.", wish, curve)
    if error_budget is None:
        return _by_hours(known, wish, curve)
    return _by_budget(known, error_budget, wish, curve)


def capacity_to_json(advice: Capacity) -> dict[str, Any]:
    """The answer of GET /v1/monitoring/capacity."""
    return {**asdict(advice), "curve": [asdict(point) for point in advice.curve]}


def _by_budget(known: Sequence[Point], budget: float, wish: _Wish, curve: tuple[Point, ...]) -> Capacity:
    within = [point for point in known if (point.released_risk or 0.0) <= budget]
    if not within:
        nearest = min(known, key=_risk)
        why = f"No threshold keeps the share of wrong answers among those released within {budget:.1%}."
        return _advice(nearest, False, why, wish, curve)
    best = min(within, key=lambda point: point.threshold)
    if best.reviews_per_day is None:
        asks = math.floor(wish.per_day / best.review_rate) if best.review_rate else None
        load = "any number of asks" if asks is None else f"up to {asks} asks a day"
        return _advice(best, True, f"Releasing from {best.threshold:.2f} up, the hours carry {load}.", wish, curve)
    need = f"{math.ceil(best.reviews_per_day)} reviews a day; the hours allow {math.floor(wish.per_day)}"
    if best.reviews_per_day > wish.per_day:
        return _advice(best, False, f"Within {budget:.1%} no threshold takes fewer than {need}.", wish, curve)
    return _advice(best, True, f"Releasing from {best.threshold:.2f} up takes {need}.", wish, curve)


def _by_hours(known: Sequence[Point], wish: _Wish, curve: tuple[Point, ...]) -> Capacity:
    fitting = [point for point in known if (point.reviews_per_day or 0.0) <= wish.per_day]
    if not fitting:
        loosest = min(known, key=lambda point: point.threshold)
        return _advice(loosest, False, "No threshold leaves as few reviews as the hours allow.", wish, curve)
    best = min(fitting, key=_risk)
    why = f"Of the thresholds whose reviews fit the hours, {best.threshold:.2f} releases the fewest wrong answers."
    return _advice(best, True, why, wish, curve)


def _risk(point: Point) -> tuple[float, float]:
    return (point.released_risk or 0.0, point.threshold)


def _advice(point: Point | None, feasible: bool, why: str, wish: _Wish, curve: tuple[Point, ...]) -> Capacity:
    return Capacity(
        feasible=feasible,
        why=why,
        threshold=point.threshold if point else None,
        review_rate=point.review_rate if point else None,
        released_risk=point.released_risk if point else None,
        reviews_per_day=point.reviews_per_day if point else None,
        capacity_per_day=wish.per_day,
        curve=curve,
    )


def _curve(rows: Sequence[Labelled], asks_per_day: float | None, audit_share: float) -> tuple[Point, ...]:
    ordered = sorted(rows, key=lambda row: row.confidence)
    confidences = [row.confidence for row in ordered]
    weights = [0.0, *accumulate(row.weight for row in ordered)]
    errors = [0.0, *accumulate(0.0 if row.right else row.weight for row in ordered)]
    points = []
    for threshold in (step / STEPS for step in range(STEPS + 1)):
        first = bisect_left(confidences, threshold)
        held = weights[first] / weights[-1]
        rate = held + audit_share * (1.0 - held)
        risk = None
        if len(ordered) - first >= LEAST_LABELS:
            risk = (errors[-1] - errors[first]) / (weights[-1] - weights[first])
        points.append(Point(threshold, rate, risk, None if asks_per_day is None else asks_per_day * rate))
    return tuple(points)


def _refuse(hours: float, minutes: float, budget: float | None, asks_per_day: float | None, audit_share: float) -> None:
    for name, value, lowest, highest in (
        ("reviewer_hours", hours, 0.0, 1e6),
        ("minutes_per_item", minutes, 1e-3, 1e6),
        ("error_budget", budget, 0.0, 1.0),
        ("asks_per_day", asks_per_day, 0.0, 1e12),
        ("audit_share", audit_share, 0.0, 1.0),
    ):
        if value is not None and not lowest <= value <= highest:
            raise ValueError(f"{name}: must lie from {lowest:g} to {highest:g}, not {value}")
