"""Exact tails of the binomial distribution and the interval that follows from them, by the incomplete beta function."""

from __future__ import annotations

import math

_TINY = 1e-300
_CLOSE = 1e-15


def at_most(errors: int, rows: int, rate: float) -> float:
    """P(X <= errors) for X binomial in `rows` trials of probability `rate`, to a relative 1e-10 up to 100,000 rows.

    Raises ValueError unless rows >= 0 and 0 <= rate <= 1.
    """
    if not (rows >= 0 and 0.0 <= rate <= 1.0):
        raise ValueError(f"a binomial needs rows >= 0 and a rate within 0 to 1, not {rows} and {rate}")
    if errors < 0:
        return 0.0
    if errors >= rows:
        return 1.0
    return _beta_below(1.0 - rate, rows - errors, errors + 1.0)


def clopper_pearson(errors: float, rows: float, level: float = 0.95) -> tuple[float, float]:
    """The two-sided interval of a rate seen as `errors` of `rows`: covers at least `level` of the time.

    Both may be fractions, as effective counts are (Korn and Graubard 1998). (0, 1) where there are no rows.
    """
    if rows <= 0.0:
        return 0.0, 1.0
    outside = (1.0 - level) / 2.0
    low = 0.0 if errors <= 0.0 else _beta_quantile(outside, errors, rows - errors + 1.0)
    high = 1.0 if errors >= rows else _beta_quantile(1.0 - outside, errors + 1.0, rows - errors)
    return low, high


def _beta_quantile(share: float, a: float, b: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(52):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _beta_below(middle, a, b) < share else (low, middle)
    return (low + high) / 2.0


def _beta_below(x: float, a: float, b: float) -> float:
    """The share of a beta(a, b) distribution below x: the regularised incomplete beta function."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    ways = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(ways + a * math.log(x) + b * math.log1p(-x))
    if x < (a + 1.0) / (a + b + 2.0):  # the fraction converges quickly on this side of the mean only
        return front * _fraction(x, a, b) / a
    return 1.0 - front * _fraction(1.0 - x, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    """Lentz's evaluation of the continued fraction 26.5.8 of Abramowitz and Stegun."""
    c, d = 1.0, _reciprocal(1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, 20_000):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        for step in (even, odd):
            d = _reciprocal(1.0 + step * d)
            c = _away_from_zero(1.0 + step / c)
            value *= c * d
        if abs(c * d - 1.0) < _CLOSE:
            break
    return value


def _reciprocal(value: float) -> float:
    return 1.0 / _away_from_zero(value)


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
