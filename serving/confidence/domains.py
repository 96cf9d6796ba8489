"""Recognises of which domain a question is, by its words; abstains where it is like none it was fitted to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
        """The domain of a question, or None where the words do not tell, or are more than are read."""
        words, whole = _read(question) if question else (set[str](), True)
        if not words or not whole:
            return None
        known = [weights for word in words if (weights := self.weights.get(word))]
        if len(words) - len(known) > self.strange * len(words):
            return None
        totals = [sum(column) for column in zip(self.offsets, *known, strict=True)]
        best, second = self._two_best(totals)
        return self.domains[best] or None if totals[best] - second >= self.lead else None

    def domain_of_all(self, questions: Sequence[str | None]) -> str | None:
        """The one domain of all that a caller said, or None: else a few last words could stand for all the others."""
        found = {self.domain(question) for question in questions}
        return found.pop() if len(found) == 1 else None

    def _two_best(self, totals: list[float]) -> tuple[int, float]:
        best = max(range(len(totals)), key=totals.__getitem__)
        return best, max((total for at, total in enumerate(totals) if at != best), default=0.0)


def words_of(text: str) -> set[str]:
    """The different words, signs and NUMBER of a text's beginning, without regard to case."""
    return _read(text)[0]


def _read(text: str) -> tuple[set[str], bool]:
    """Those words, and whether that was all of the text."""
    found = _WORD.findall(text[:_READ_CHARACTERS].casefold())
    words = {NUMBER if word.isdigit() else word for word in found[:_READ_WORDS]}
    return words, len(text) <= _READ_CHARACTERS and len(found) <= _READ_WORDS
