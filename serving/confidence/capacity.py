"""Weighs reviewers' hours against an error budget: the threshold that meets both, or the statement that none does."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from serving.confidence.learn_then_test import Labelled

LEAST_LABELS = 30  # below this neither the risk nor the rate is predicted
STEPS = 100


@dataclass(frozen=True)
class Point:
    """What one threshold is predicted to do."""

    threshold: float
    review_rate: float  # share of asks that a person reads
    released_risk: float | None  # share of wrong answers among those released unread; None where none is
    reviews_per_day: float | None  # None while the asks per day are unknown


@dataclass(frozen=True)
class Capacity:
    """The advice, and the curve it was read from."""

    feasible: bool
    why: str  # one sentence
    threshold: float | None
    review_rate: float | None
    released_risk: float | None
    reviews_per_day: float | None
    capacity_per_day: float  # items that the reviewers can read
    curve: tuple[Point, ...]


def capacity(
    rows: Sequence[Labelled],
    *,
    reviewer_hours: float,
    minutes_per_item: float,
    error_budget: float,
    asks_per_day: float | None = None,
    audit_share: float = 0.0,
) -> Capacity:
    """The loosest threshold within the error budget whose reviews fit the hours; infeasible says which of them fails.

    `rows` are labelled answers of all confidences with weight 1/π. `audit_share` of what is released is read too.
    Raises ValueError naming the argument that is out of range.
    """
    _refuse(reviewer_hours, minutes_per_item, error_budget, asks_per_day, audit_share)
    per_day = reviewer_hours * 60.0 / minutes_per_item
    if len(rows) < LEAST_LABELS:
        why = f"{len(rows)} labelled answers are too few to predict from; {LEAST_LABELS} are needed."
        return Capacity(False, why, None, None, None, None, per_day, ())
    curve = _curve(rows, asks_per_day, audit_share)
    within = [point for point in curve if point.released_risk is None or point.released_risk <= error_budget]
    best = min(within, key=lambda point: (point.review_rate, point.threshold))
    feasible, why = _verdict(best, per_day, error_budget)
    return Capacity(
        feasible, why, best.threshold, best.review_rate, best.released_risk, best.reviews_per_day, per_day, curve
    )


def capacity_to_json(advice: Capacity) -> dict[str, object]:
    """The answer of GET /v1/monitoring/capacity."""
    fields = {name: value for name, value in vars(advice).items() if name != "curve"}
    return {**fields, "curve": [dict(vars(point)) for point in advice.curve]}


def _refuse(hours: float, minutes: float, budget: float, asks: float | None, share: float) -> None:
    for name, value, lowest, highest in (
        ("reviewer_hours", hours, 0.0, 1e6),
        ("minutes_per_item", minutes, 1e-3, 1e6),
        ("error_budget", budget, 0.0, 1.0),
        ("asks_per_day", 1.0 if asks is None else asks, 0.0, 1e12),
        ("audit_share", share, 0.0, 1.0),
    ):
        if not (math.isfinite(value) and lowest <= value <= highest):
            raise ValueError(f"{name}: must lie from {lowest:g} to {highest:g}, not {value}")


def _curve(rows: Sequence[Labelled], asks_per_day: float | None, audit_share: float) -> tuple[Point, ...]:
    ordered = sorted(rows, key=lambda row: row.confidence)
    confidences = [row.confidence for row in ordered]
    weights = [0.0, *accumulate(row.weight for row in ordered)]
    errors = [0.0, *accumulate(0.0 if row.right else row.weight for row in ordered)]
    total = weights[-1]
    points = []
    for step in range(STEPS + 1):
        below = bisect_left(confidences, step / STEPS)
        released = total - weights[below]
        held = weights[below] / total
        rate = held + audit_share * (1.0 - held)
        risk = (errors[-1] - errors[below]) / released if below < len(ordered) else None
        reviews = None if asks_per_day is None else asks_per_day * rate
        points.append(Point(step / STEPS, rate, risk, reviews))
    return tuple(points)


def _verdict(best: Point, per_day: float, budget: float) -> tuple[bool, str]:
    if best.released_risk is None:
        return False, f"No threshold keeps the share of wrong answers among those released within {budget:.1%}."
    if best.reviews_per_day is None:
        return True, f"A threshold of {best.threshold:.2f} keeps to {budget:.1%}; {best.review_rate:.0%} are reviewed."
    if best.reviews_per_day > per_day:
        need = f"{math.ceil(best.reviews_per_day)} reviews a day, and the hours allow {math.floor(per_day)}"
        return False, f"Keeping to {budget:.1%} takes {need}."
    return (
        True,
        f"A threshold of {best.threshold:.2f} keeps to {budget:.1%} with {best.reviews_per_day:.0f} reviews a day.",
    )
