"""Lays out one generation as columns of checked numbers, so that each signal is one short pass over them."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul

from serving.answer import FinishReason, PromptTrace, Step, TokenTrace

_MARK = "Answer:"
_NUMBER = re.compile(r"[ \t]{0,8}[$€£]?[ \t]?([+-]?\d[\d,]{0,40}(?:\.\d{1,40})?)")
_ROUNDING = 1e-3  # a log-probability may lie this far above nought, an entropy this far below


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the signals look at. A column is None where one of its numbers is missing, not finite or impossible."""

    length: int
    logprobs: tuple[float, ...] | None  # nats, each at most 0
    entropies: tuple[float, ...] | None  # nats, over the whole vocabulary, else over the top alternatives
    gate_entropies: tuple[float, ...] | None  # nats
    margins: tuple[float, ...] | None  # nats between the best and the second alternative
    answer: tuple[float, ...] | None  # log-probabilities of the stated number and of the token that ends it
    answer_found: bool
    finish_reason: FinishReason
    prompt: PromptTrace
    steps: tuple[Step, ...] = ()  # as self-verification saw them


def gather(
    tokens: Sequence[TokenTrace],
    prompt: PromptTrace,
    finish_reason: FinishReason,
    text: str,
    steps: tuple[Step, ...] = (),
) -> Evidence:
    """Check every number once. Accepts any trace, hostile ones too, and never raises over its numbers."""
    logprobs = _column((token.logprob for token in tokens), highest=_ROUNDING)
    entropies = _column((token.entropy for token in tokens), lowest=-_ROUNDING)
    if entropies is None:
        entropies = _column((_top_entropy(token.top) for token in tokens), lowest=-_ROUNDING)
    span = answer_span(tokens)
    return Evidence(
        length=len(tokens),
        logprobs=logprobs,
        entropies=entropies,
        gate_entropies=_column((token.gate_entropy for token in tokens), lowest=-_ROUNDING),
        margins=_column((_margin(token.top) for token in tokens), lowest=-_ROUNDING),
        answer=logprobs[span[0] : span[1]] if logprobs and span else None,
        answer_found=span is not None or _stated(text) is not None,
        finish_reason=finish_reason,
        prompt=prompt,
        steps=steps,
    )


def finite(value: float | None) -> float | None:
    """The value itself, or None where it is not a finite number."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


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
    values: Iterable[float | None], lowest: float = -math.inf, highest: float = math.inf
) -> tuple[float, ...] | None:
    try:
        column: tuple[float, ...] = tuple(values)  # type: ignore[arg-type]  # a None makes the sum fail
        usable = bool(column) and math.isfinite(sum(column)) and lowest <= min(column) and max(column) <= highest
    except TypeError:
        return None
    return column if usable else None


def _margin(top: Sequence[tuple[str, float]]) -> float | None:
    return top[0][1] - top[1][1] if len(top) > 1 else None


def _top_entropy(top: Sequence[tuple[str, float]]) -> float | None:
    """Entropy of the alternatives as if there were no others, in nats."""
    if len(top) < 2:
        return None
    logprobs = [logprob for _, logprob in top]
    if not math.isfinite(sum(logprobs)) or max(logprobs) > _ROUNDING:  # the sum sees a NaN, max() may not
        return None
    weights = list(map(math.exp, logprobs))
    total = sum(weights)
    # -sum(s * log(s)) over shares s = weight / total
    return math.log(total) - sum(map(mul, weights, logprobs)) / total if total else None
