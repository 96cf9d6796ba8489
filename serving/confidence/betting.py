"""Tests by betting: wealth that only an error rate below the allowed one makes grow, for rows of unequal weight."""

from __future__ import annotations

import math
from collections.abc import Sequence

# Shares of the largest bet that cannot ruin. Fixed beforehand, so that their mean is a bet like any other.
BETS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)


def log_wealths(weight: float, wrong: bool, alpha: float, heaviest: float) -> list[float]:
    """What one row adds to the logarithm of the wealth of each bet: log(1 + bet·w(α − err)/(w_max(1 − α)))."""
    gain = weight / heaviest * ((alpha - 1.0) if wrong else alpha) / (1.0 - alpha)
    return [math.log1p(bet * gain) for bet in BETS]


def mean_wealth(logs: Sequence[float]) -> float:
    """The mean of the wealths whose logarithms are given; infinite where it is too large for a float."""
    highest = max(logs)
    if highest > 700.0:
        return math.inf
    return math.exp(highest) * sum(math.exp(log - highest) for log in logs) / len(logs)
