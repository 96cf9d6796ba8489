"""Recognises of which domain a question is, by its words; abstains where it is like none it was fitted to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

_WORD = re.compile(r"[^\W\d_]+|\d+|[^\w\s]|_+")
_READ_CHARACTERS, _READ_WORDS = 4_000, 400
NUMBER = "#"  # stands for any number
UNRECOGNISED = ""  # the class of questions that are none of the domains


@dataclass(frozen=True)
class Recogniser:
    """A linear classifier over which words occur."""

    domains: tuple[str, ...]  # UNRECOGNISED may be among them, where foreign questions were there to learn from
    weights: Mapping[str, tuple[float, ...]]  # by word of the vocabulary: log-odds, one a domain
    offsets: tuple[float, ...]  # one a domain
    lead: float  # by which the best domain must lead, in log-odds
    strange: float  # greatest share of words outside the vocabulary

    def domain(self, question: str | None) -> str | None:
        """The domain of a question, or None where the words do not tell."""
        words = words_of(question) if question else None
        if not words:
            return None
        known = [weights for word in words if (weights := self.weights.get(word))]
        if len(words) - len(known) > self.strange * len(words):
            return None
        totals = [sum(column) for column in zip(self.offsets, *known, strict=True)]
        best, second = self._two_best(totals)
        return self.domains[best] or None if totals[best] - second >= self.lead else None

    def _two_best(self, totals: list[float]) -> tuple[int, float]:
        best = max(range(len(totals)), key=totals.__getitem__)
        return best, max((total for at, total in enumerate(totals) if at != best), default=0.0)


def words_of(text: str) -> set[str]:
    """The different words, signs and NUMBER of a text's beginning, without regard to case."""
    found: Iterable[str] = (
        match[0] for match in islice(_WORD.finditer(text[:_READ_CHARACTERS].casefold()), _READ_WORDS)
    )
    return {NUMBER if word.isdigit() else word for word in found}
