"""Lays the alternatives of all tokens side by side, so that each figure is one pass at the speed of C."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import mul, sub

from serving.answer import TokenTrace

_ROUNDING = 1e-3  # a log-probability may lie this far above nought


class Alternatives:
    """The log-probabilities of every token's most probable alternatives: possible ones, equally many a token."""

    __slots__ = ("_flat", "_width", "best")

    def __init__(self, flat: list[float], width: int) -> None:
        """`flat`: nats, token after token, best first; `width`: how many each has, at least 2."""
        self._flat, self._width = flat, width
        self.best = flat[::width]  # the most probable alternative, a token

    def margins(self) -> list[float]:
        """Best less second best, a token, nats."""
        return list(map(sub, self.best, self._flat[1 :: self._width]))

    def mass_of_least(self) -> float:
        """Probability that the alternatives have together at the token whose best is the least probable."""
        at = self.best.index(min(self.best)) * self._width
        return sum(map(math.exp, self._flat[at : at + self._width]))

    def entropies(self) -> list[float] | None:
        """Entropy over a token's alternatives as if there were no others, nats; None where they have nothing."""
        weights = list(map(math.exp, self._flat))
        totals = self._sums(weights)
        if not min(totals):
            return None
        # -sum(s * log(s)) over shares s = weight / total
        dots = self._sums(map(mul, weights, self._flat))
        return [math.log(total) - dot / total for total, dot in zip(totals, dots, strict=True)]

    def _sums(self, values: Iterable[float]) -> list[float]:
        """Sum over each token's own neighbours."""
        once = iter(values)
        return list(map(sum, zip(*[once] * self._width, strict=True)))


def alternatives(tokens: Sequence[TokenTrace]) -> Alternatives | None:
    """None where a token has fewer than two alternatives or an impossible one.

    Where tokens have unequally many, all are cut to the fewest.
    """
    tops = [token.top for token in tokens]
    try:
        widths = set(map(len, tops))
        width = min(widths, default=0)
        if width < 2:
            return None
        if len(widths) > 1:
            tops = [top[:width] for top in tops]
        flat = [logprob for _, logprob in chain.from_iterable(tops)]
        # the sum shows a NaN, max() may pass it over
        possible = math.isfinite(sum(flat)) and max(flat) <= _ROUNDING
    except (TypeError, ValueError, OverflowError):
        return None
    return Alternatives(flat, width) if possible else None
