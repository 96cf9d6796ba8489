"""Brings answers into one form, so that two ways of writing the same answer compare as equal."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from fractions import Fraction

_MARKED = re.compile(r"(?:\banswer\b[ \t]*(?:is\b|:)|####)[ \t]*([^\n]*)|\\boxed\{([^{}\n]{0,200})\}", re.IGNORECASE)
_DIGITS = r"\d{1,40}(?:,\d{3}){0,12}"
_NUMBER = re.compile(
    r"(?:[a-z][ ]?=[ ]?|about |approximately |[≈~=] ?)?"  # x = 5, about 5
    r"(?P<sign>[+-]?)[ ]?[$€£]?[ ]?(?P<minus>-?)"  # -$5 and $-5
    rf"(?:(?P<whole>{_DIGITS}) (?P<over>\d{{1,20}})/(?P<under>\d{{1,20}})"  # 1 1/2
    rf"|(?P<top>{_DIGITS})[ ]?/[ ]?(?P<bottom>{_DIGITS})"  # 3/4
    rf"|(?P<point>(?:{_DIGITS})?(?:\.\d{{0,40}})?))"  # 1,000.50
    r"(?P<unit>(?:[ ]?(?:%|°[cf]?|[$€£])|(?:[ ]|(?=[^\W\d_]{2}))[^\W\d_][^\d]{0,39})?)"  # no further number; 2x is no 2
)
_LONGEST_NUMBER = 120  # characters; longer statements are compared as text
_BEFORE = " \t*_`\"',;:!?([{"
_AFTER = " \t*_`\"'.,;:!?)]}"


def canonical(text: str) -> str:
    """The stated answer, or the whole text where none is stated, in the one form all its spellings share.

    Numbers lose separators, currency and unit and become whole or a fraction in lowest terms: "1,000", "$1000" and
    "1000.0 km" are "1000"; "50 %" is "50". Anything else is text without regard to case and spacing.
    """
    stated = _stated(text)
    collapsed = " ".join(stated.replace("−", "-").casefold().split())
    bare = collapsed.lstrip(_BEFORE).rstrip(_AFTER)
    return _number(bare) or bare or collapsed


def agreement_of(answer: str, samples: Sequence[str]) -> float | None:
    """Share of the samples that say what `answer` says; None where there are none."""
    if not samples:
        return None
    said = canonical(answer)
    return sum(canonical(sample) == said for sample in samples) / len(samples)


def _stated(text: str) -> str:
    """What stands behind the last mark of an answer."""
    marked = deque(_MARKED.finditer(text), maxlen=1)
    return next(((last[1] or last[2] or "").strip() for last in marked), "") or text


def _number(text: str) -> str | None:
    match = _NUMBER.fullmatch(text) if len(text) <= _LONGEST_NUMBER else None
    if not match or not any(match[name] for name in ("whole", "top", "point")):
        return None
    try:
        value = _value({name: (part or "").replace(",", "") for name, part in match.groupdict().items()})
    except (ValueError, ZeroDivisionError):
        return None
    return str(-value if (match["sign"] == "-") != (match["minus"] == "-") else value)


def _value(parts: dict[str, str]) -> Fraction:
    if parts["whole"]:
        return int(parts["whole"]) + Fraction(int(parts["over"]), int(parts["under"]))
    if parts["top"]:
        return Fraction(int(parts["top"]), int(parts["bottom"]))
    return Fraction(parts["point"])
