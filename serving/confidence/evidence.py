"""Lays out one generation as columns of checked numbers, so that each signal is one short pass over them."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import sub

from serving.answer import FinishReason, PromptTrace, Step, TokenTrace
from serving.confidence.alternatives import alternatives
from serving.confidence.self_verify.unfinished import came_to_an_end

Column = list[float]  # one number a token

_MARK = "Answer:"
_NUMBER = re.compile(r"[ \t]{0,8}[$€£]?[ \t]?([+-]?\d[\d,]{0,40}(?:\.\d{1,40})?)")
_NUMBERS = (int, float)  # built once: for every answer each signal is looked at
_ROUNDING = 1e-3  # a log-probability may lie this far above nought, an entropy this far below


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the signals look at. A column is None where one of its numbers is missing, not finite or impossible."""

    length: int
    logprobs: Column | None  # nats, each at most 0
    entropies: Column | None  # nats, over the whole vocabulary, else over the top alternatives
    gate_entropies: Column | None  # nats
    margins: Column | None  # nats between the best and the second alternative
    lags: Column | None  # nats between the best alternative and the token that was chosen
    top_mass: float | None  # of the alternatives at the token whose best is the least probable
    span: slice | None  # the tokens of the stated number and the one that ends it
    answer_found: bool
    finish_reason: FinishReason
    prompt: PromptTrace
    text: str
    steps: tuple[Step, ...] | None  # as self-verification saw them; None where it came to no end
    samples: tuple[str, ...]  # further answers to the same question, to compare this one with

    def stated(self, column: Column | None) -> Column | None:
        """What of a column belongs to the stated number; None where there is no number or no column."""
        return column[self.span] if self.span and column else None


def gather(
    tokens: Sequence[TokenTrace],
    prompt: PromptTrace,
    finish_reason: FinishReason,
    text: str,
    steps: Sequence[Step] | None = None,
    *,
    samples: Sequence[str] = (),
) -> Evidence:
    """Check every number once. Accepts any trace, hostile ones too, and never raises over its numbers."""
    logprobs = _column([token.logprob for token in tokens], highest=_ROUNDING)
    entropies = _column([token.entropy for token in tokens], lowest=-_ROUNDING)
    others = alternatives(tokens)
    if entropies is None and others and (found := others.entropies()):
        entropies = _column(found, lowest=-_ROUNDING)
    span = answer_span(tokens)
    return Evidence(
        length=len(tokens),
        logprobs=logprobs,
        entropies=entropies,
        gate_entropies=_column([token.gate_entropy for token in tokens], lowest=-_ROUNDING),
        margins=_column(others.margins(), lowest=-_ROUNDING) if others else None,
        lags=_column(list(map(sub, others.best, logprobs))) if others and logprobs else None,
        top_mass=others.mass_of_least() if others else None,
        span=slice(*span) if span else None,
        answer_found=span is not None or _stated(text) is not None,
        finish_reason=finish_reason,
        prompt=prompt,
        text=text,
        steps=tuple(steps) if steps is not None and came_to_an_end(steps) else None,
        samples=tuple(samples),
    )


def finite(value: float | None) -> float | None:
    """The value itself, or None where it is not a finite number."""
    return float(value) if isinstance(value, _NUMBERS) and math.isfinite(value) else None


def answer_span(tokens: Sequence[TokenTrace]) -> tuple[int, int] | None:
    """Where the number behind the last `Answer:` stands: first token, and one past the token that ends it."""
    texts = [token.text for token in tokens]
    found = _stated("".join(texts))
    if found is None:
        return None
    ends = list(accumulate(map(len, texts)))  # ends[i]: characters up to and with token i
    first = bisect_right(ends, found.start(1))
    last = bisect_right(ends, found.end(1) - 1)
    return first, min(last + 2, len(texts))


def _stated(text: str) -> re.Match[str] | None:
    mark = text.rfind(_MARK)
    return None if mark < 0 else _NUMBER.match(text, mark + len(_MARK))


def _column(
    values: list[float | None] | list[float], lowest: float | None = None, highest: float | None = None
) -> Column | None:
    column: Column = values  # type: ignore[assignment]  # a None makes the sum fail, a NaN shows in it
    try:
        usable = bool(column) and math.isfinite(sum(column))
        usable = usable and (lowest is None or lowest <= min(column))
        usable = usable and (highest is None or max(column) <= highest)
    except (TypeError, OverflowError):
        return None
    return column if usable else None
