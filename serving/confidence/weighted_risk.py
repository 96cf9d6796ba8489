"""Estimates the error rate of what was released from the part that was audited, each audit weighted by 1/π."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True)
class Audit:
    """One released answer that was drawn with probability 1/weight and labelled."""

    wrong: bool
    weight: float = 1.0  # 1/π


@dataclass(frozen=True)
class Risk:
    """R̂ = Σ w·wrong / Σ w with an interval of the given level; (0, 1) around None where nothing was audited."""

    estimate: float | None
    low: float
    high: float
    audited: int
    level: float


def weighted_risk(audits: Sequence[Audit], level: float = 0.95) -> Risk:
    """Wilson's interval at the effective number of audits, (Σw)²/Σw². Raises ValueError for a weight below 1."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level: must lie between 0 and 1, not {level}")
    for place, audit in enumerate(audits):
        if not 1.0 <= audit.weight < math.inf:
            raise ValueError(f"audits[{place}].weight: must be 1/π, so finite and at least 1, not {audit.weight}")
    if not audits:
        return Risk(None, 0.0, 1.0, 0, level)
    total = sum(audit.weight for audit in audits)
    estimate = sum(audit.weight for audit in audits if audit.wrong) / total
    effective = total * total / sum(audit.weight**2 for audit in audits)
    low, high = _wilson(estimate, effective, level)
    return Risk(estimate, low, high, len(audits), level)


def _wilson(rate: float, rows: float, level: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf((1.0 + level) / 2.0)
    middle = (rate + z * z / (2.0 * rows)) / (1.0 + z * z / rows)
    half = z / (1.0 + z * z / rows) * math.sqrt(rate * (1.0 - rate) / rows + (z / (2.0 * rows)) ** 2)
    return max(0.0, middle - half), min(1.0, middle + half)
