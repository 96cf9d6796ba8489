"""Finds the loosest threshold whose selective risk is certified, by fixed-sequence Learn-then-Test."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from serving.confidence.betting import BETS, log_wealths, mean_wealth
from serving.confidence.binomial import at_most

STEPS = 200  # the grid of thresholds: multiples of 1/200, chosen before any label was seen


@dataclass(frozen=True)
class Labelled:
    """An answer whose truth is known. `weight` is 1/π, π the probability with which it was drawn to be labelled."""

    confidence: float
    right: bool
    domain: str | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Bound:
    """What is certified of one domain. Counts are of labelled rows; where rows are weighted, of the rows they stand for."""

    threshold: float | None  # least confidence at which release is certified; None: nothing is
    labels: int
    released: int  # at or above the threshold
    errors: int  # of those, wrong
    coverage: float  # share of the domain's rows at or above the threshold; 0 where nothing is certified


def refuse_what_cannot_be_tested(rows: Sequence[Labelled], *, alpha: float, delta: float, at_least: float) -> None:
    """Raises ValueError naming the argument, or the row by its place and field."""
    for name, value in (("alpha", alpha), ("delta", delta)):
        if not 0.0 < value < 1.0:
            raise ValueError(f"{name}: must lie between 0 and 1, not {value}")
    if not 0.0 <= at_least <= 1.0:
        raise ValueError(f"at_least: must lie from 0 to 1, not {at_least}")
    for place, row in enumerate(rows):
        if not 0.0 <= row.confidence <= 1.0:
            raise ValueError(f"rows[{place}].confidence: must lie from 0 to 1, not {row.confidence}")
        if not 1.0 <= row.weight < math.inf:
            raise ValueError(f"rows[{place}].weight: must be 1/π, so finite and at least 1, not {row.weight}")


def bound_of(rows: Sequence[Labelled], *, alpha: float, delta: float, at_least: float = 0.0) -> Bound:
    """The certified bound of rows of one domain."""
    ordered = sorted(rows, key=lambda row: row.confidence)
    confidences = [row.confidence for row in ordered]
    grid = sorted({at_least, *(step / STEPS for step in range(STEPS + 1) if step / STEPS > at_least)}, reverse=True)
    starts = [bisect_left(confidences, threshold) for threshold in grid]
    heaviest = max((row.weight for row in rows), default=1.0)
    equal = all(row.weight == heaviest for row in rows)
    p_values = _binomial(ordered, starts, alpha) if equal else _betting(ordered, starts, alpha, heaviest)
    found: int | None = None
    for index, start in enumerate(starts):
        if len(rows) - start < _enough(len(rows), alpha, delta):
            continue
        if p_values[index] > delta:
            break
        found = index
    return _bound(ordered, None if found is None else grid[found], heaviest if equal else None)


def _enough(rows: int, alpha: float, delta: float) -> int:
    least = math.log(delta) / math.log1p(-alpha)
    return max(math.ceil(least), min(rows // 4, math.ceil(4.0 * least)))


def _binomial(ordered: Sequence[Labelled], starts: Sequence[int], alpha: float) -> list[float]:
    wrong = [0, *accumulate(int(not row.right) for row in ordered)]
    return [at_most(wrong[-1] - wrong[start], len(ordered) - start, alpha) for start in starts]


def _betting(ordered: Sequence[Labelled], starts: Sequence[int], alpha: float, heaviest: float) -> list[float]:
    logs = [0.0] * len(BETS)
    p_values, end = [], len(ordered)
    for start in starts:
        for row in ordered[start:end]:
            gains = log_wealths(row.weight, not row.right, alpha, heaviest)
            logs = [log + gain for log, gain in zip(logs, gains, strict=True)]
        end = start
        wealth = mean_wealth(logs)
        p_values.append(min(1.0, 1.0 / wealth) if wealth else 1.0)
    return p_values


def _bound(ordered: Sequence[Labelled], threshold: float | None, common: float | None) -> Bound:
    if threshold is None:
        return Bound(None, len(ordered), 0, 0, 0.0)
    released = [row for row in ordered if row.confidence >= threshold]
    total = sum(row.weight for row in ordered)
    weight = sum(row.weight for row in released)
    scale = 1.0 if common is None else common
    return Bound(
        threshold=threshold,
        labels=len(ordered),
        released=round(weight / scale),
        errors=round(sum(row.weight for row in released if not row.right) / scale),
        coverage=weight / total,
    )
