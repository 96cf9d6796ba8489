"""Estimates the error rate of answers from the part that was labelled, each weighing 1/π, with an interval.

Answers of similar weight form a class (weights within a factor of two); a class has an exact interval of its own at
its effective number of labels. The classes' distances from their estimates, and the uncertainty of how much of the
whole each class is, add up as squares (the method of variance estimates recovery, Zou and Donner 2008). With one
weight throughout this is the Clopper-Pearson interval; with few labels it stays wide where a variance estimated from
the labels would be 0. How often it covers is measured by `benchmarks.confidence_review`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from serving.confidence.binomial import clopper_pearson


@dataclass(frozen=True)
class Audit:
    """One answer that was drawn with probability 1/weight and labelled."""

    wrong: bool
    weight: float = 1.0  # 1/π


@dataclass(frozen=True)
class Risk:
    """R̂ = Σ w·wrong / Σ w and its interval; None within 0 to 1 where nothing was labelled."""

    estimate: float | None
    low: float
    high: float
    audited: int
    level: float


@dataclass(frozen=True)
class _Class:
    share: float  # of the total weight
    rate: float  # of wrong ones, by weight
    rows: float  # effective: (Σw)²/Σw²


def weighted_risk(audits: Sequence[Audit], level: float = 0.95) -> Risk:
    """The share of wrong answers among those the audits were drawn from.

    Raises ValueError for a level outside (0, 1) and for a weight below 1 or not finite.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level: must lie between 0 and 1, not {level}")
    for place, audit in enumerate(audits):
        if not 1.0 <= audit.weight < math.inf:
            raise ValueError(f"audits[{place}].weight: must be 1/π, so finite and at least 1, not {audit.weight}")
    if not audits:
        return Risk(None, 0.0, 1.0, 0, level)
    classes = _classes(audits)
    estimate = math.fsum(each.share * each.rate for each in classes)
    low, high = _interval(classes, estimate, level)
    return Risk(estimate, low, high, len(audits), level)


def _classes(audits: Sequence[Audit]) -> list[_Class]:
    groups: dict[int, list[Audit]] = {}
    for audit in audits:
        groups.setdefault(math.frexp(audit.weight)[1], []).append(audit)
    total = math.fsum(audit.weight for audit in audits)
    return [_class(group, total) for group in groups.values()]


def _class(group: Sequence[Audit], total: float) -> _Class:
    weight = math.fsum(audit.weight for audit in group)
    wrong = math.fsum(audit.weight for audit in group if audit.wrong)
    return _Class(weight / total, wrong / weight, weight**2 / math.fsum(audit.weight**2 for audit in group))


def _interval(classes: Sequence[_Class], estimate: float, level: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf((1.0 + level) / 2.0)
    below = above = 0.0
    for each in classes:
        low, high = clopper_pearson(each.rate * each.rows, each.rows, level)
        unsure = (z * (each.rate - estimate)) ** 2 / each.rows  # of the class's share
        below += each.share**2 * ((each.rate - low) ** 2 + unsure)
        above += each.share**2 * ((high - each.rate) ** 2 + unsure)
    return max(0.0, estimate - math.sqrt(below)), min(1.0, estimate + math.sqrt(above))
