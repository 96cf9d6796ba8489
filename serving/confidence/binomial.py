"""Exact tails of the binomial distribution, and the interval that follows from them."""

from __future__ import annotations

import math

_NEGLIGIBLE = 1e-17  # a term this small beside the sum no longer changes it


def at_most(errors: int, rows: int, rate: float) -> float:
    """P(X <= errors) for X binomial in `rows` trials of probability `rate`; exact to about 1e-12.

    Raises ValueError unless 0 <= rate <= 1 and rows >= 0.
    """
    if not (rows >= 0 and 0.0 <= rate <= 1.0):
        raise ValueError(f"a binomial needs rows >= 0 and a rate within 0 to 1, not {rows} and {rate}")
    if errors < 0:
        return 0.0
    if errors >= rows or rate == 0.0:
        return 1.0
    if rate == 1.0:
        return 0.0
    if errors < rows * rate:
        return _falling(errors, rows, rate)
    # the upper tail is the lower tail of the successes, and the smaller of the two sums
    return 1.0 - _falling(rows - errors - 1, rows, 1.0 - rate)


def clopper_pearson(errors: int, rows: int, level: float = 0.95) -> tuple[float, float]:
    """The exact two-sided interval of a rate seen as `errors` of `rows`; (0, 1) where there are no rows."""
    if rows == 0:
        return 0.0, 1.0
    outside = (1.0 - level) / 2.0
    low = 0.0 if errors == 0 else _rate_where(lambda rate: 1.0 - at_most(errors - 1, rows, rate) >= outside)
    high = 1.0 if errors >= rows else _rate_where(lambda rate: at_most(errors, rows, rate) <= outside)
    return low, high


def _falling(errors: int, rows: int, rate: float) -> float:
    """The sum from `errors` down to 0, below the mean, where each term is smaller than the one before."""
    odds = (1.0 - rate) / rate
    term = total = 1.0
    for below in range(errors, 0, -1):
        term *= below / (rows - below + 1) * odds
        total += term
        if term < total * _NEGLIGIBLE:
            break
    return min(1.0, total * math.exp(_log_probability(errors, rows, rate)))


def _log_probability(errors: int, rows: int, rate: float) -> float:
    ways = math.lgamma(rows + 1) - math.lgamma(errors + 1) - math.lgamma(rows - errors + 1)
    return ways + errors * math.log(rate) + (rows - errors) * math.log1p(-rate)


def _rate_where(reached) -> float:  # type: ignore[no-untyped-def]
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (low, middle) if reached(middle) else (middle, high)
    return (low + high) / 2.0
