"""Cuts prose with formulas into numbers, signs, names and words, each with its place in the text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

Kind = Literal[
    "number", "sign", "open", "close", "percent", "root", "fraction", "name", "word", "unit",
    "relation", "mark", "stop", "line", "opaque",
]  # fmt: skip

_PATTERN = re.compile(
    r"""
    (?P<blank>[^\S\n]+|\\[,;!\s]|\\(?:left|right|quad|boxed|displaystyle)\b|[$€£°]|\\[$()\[\]]
        |(?P<bold>(?<!\S)\*\*(?=[^\s*])|(?<=[^\s*])\*\*(?!\S)))  # in Markdown
    |(?P<line>\n)
    |(?P<ordinal>\d+(?:st|nd|rd|th)\b)
    |(?P<opaque>\d+(?::\d+)+|0[xX][\da-fA-F]+\b|0[bBoO]\d+\b|\d+\.(?=\(\d)|\bchoose\b|!(?=\s*[-+*/^=<>)])|!=(?=\s*$))
    |(?P<number>\d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)
    |(?P<mark>\.{3}|…|\\dots\b|\\ldots\b)                        # the number goes on
    |(?P<arrow>=>|->|⇒|→|⟹|⇔|\\Rightarrow\b|\\to\b|\\implies\b)
    |(?P<relation><=|>=|!=|==|=|≈|≠|≤|≥|<|>|\\(?:approx|neq?|leq?|geq?)\b)
    |(?P<sign>\*\*|[-+*/^×÷·⋅∗−–]|\\(?:times|cdot|div)\b)
    |(?P<raised>[²³])
    |(?P<root>√|\\?\bsqrt\b)
    |(?P<fraction>\\[dt]?frac\b)
    |(?P<open>[(\[{])
    |(?P<close>[)\]}])
    |(?P<percent>\\?%)
    |(?P<word>\\?[^\W\d_]+(?:[-'’][^\W\d_]+)*)
    |(?P<stop>[.,;:!?"“”—\\])
    |(?P<other>.)
    """,
    re.VERBOSE,
)
_OPERAND = re.compile(r"[^\S\n]*(?:[\d.(\[{√\\]|[-−–]\S|[^\W\d_]\b)")
_SIGNS = {"×": "*", "·": "*", "⋅": "*", "∗": "*", "÷": "/", "−": "-", "–": "-", "**": "^"} | {
    r"\times": "*", r"\cdot": "*", r"\div": "/",
}  # fmt: skip
_RELATIONS = {"==": "=", "<=": "≤", ">=": "≥", "!=": "≠"} | {
    r"\approx": "≈", r"\ne": "≠", r"\neq": "≠", r"\le": "≤", r"\leq": "≤", r"\ge": "≥", r"\geq": "≥",
}  # fmt: skip
_PLAIN_COMMANDS = re.compile(
    r"\\(?:therefore|because|begin|end|item|qquad|hline|text(?:bf|it)?|math(?:bf|rm)|mbox|bf|rm)"
)
_SPOKEN = {"plus": "+", "minus": "-", "times": "*"}
_SPOKEN_BY = {"multiplied": "*", "divided": "/"}
_BEFORE_A_SPOKEN_SIGN: frozenset[Kind] = frozenset(("number", "close", "percent", "name", "word"))


class Token(NamedTuple):
    kind: Kind
    text: str  # a sign or relation in its plain form, a word in lower case, else as written
    start: int
    end: int
    spaced: bool  # blanks stand before it


_WORDS_IN_FORMULAS = re.compile(r"\\(?:text|mathrm|mbox)\{([^{}\n]{0,80})\}")


def tokenize(text: str, start: int = 0) -> list[Token]:
    """The tokens of a text that stands at `start` of another. Linear in its length."""
    text = _WORDS_IN_FORMULAS.sub(lambda match: match[1].rjust(len(match[0]) - 1) + " ", text)
    tokens: list[Token] = []
    spaced = True
    for match in _PATTERN.finditer(text):
        if match.lastgroup == "blank" and not (match["bold"] and _may_be_a_power(tokens, text, match.end())):
            spaced = spaced or match.group().isspace() or match.group() == "**"
            continue
        tokens += _tokens(match, start, spaced)
        spaced = match.lastgroup == "line"
    return _with_spoken_signs(tokens)


def _may_be_a_power(before: Sequence[Token], text: str, end: int) -> bool:
    """Whether `**` that looks like bold stands between numbers: `2** (3)`."""
    return bool(before) and before[-1].kind in ("number", "close") and _OPERAND.match(text, end) is not None


def _tokens(match: re.Match[str], offset: int, spaced: bool) -> list[Token]:
    group, text = match.lastgroup or "other", match.group()
    start, end = match.start() + offset, match.end() + offset
    if group == "raised":  # a square as it is typed
        power = {"²": "2", "³": "3"}[text]
        return [Token("sign", "^", start, end, spaced), Token("number", power, start, end, False)]
    kind: Kind
    if group == "ordinal":
        kind = "word"
    elif group == "word" and text.startswith("\\") and not _PLAIN_COMMANDS.fullmatch(text):
        kind = "opaque"  # `\binom`, `\log`, `\not`: what follows is no formula by itself
    elif group == "word":
        kind, text = ("name", text) if len(text) == 1 else ("word", text.lower())
    elif group in ("arrow", "other", "blank"):
        kind = "stop" if group == "arrow" else "opaque"
    else:
        kind = group  # type: ignore[assignment]  # the groups' names are kinds
    if kind == "sign":
        text = _SIGNS.get(text, text)
    elif kind == "relation":
        text = _RELATIONS.get(text, text)
    return [Token(kind, text, start, end, spaced)]


def _with_spoken_signs(tokens: list[Token]) -> list[Token]:
    """`plus`, `times`, `divided by`, `1/3 of 60` and `5 x 3` as signs, where they stand between numbers."""
    heard: list[Token] = []
    for at, token in enumerate(tokens):
        after = tokens[at + 1] if at + 1 < len(tokens) else None
        before = heard[-1].kind if heard else "stop"
        if token.text == "by" and before == "sign" and heard[-1].end - heard[-1].start > 2:
            continue
        sign = _spoken_sign(token, before, after) if after and before in _BEFORE_A_SPOKEN_SIGN else None
        heard.append(token._replace(kind="sign", text=sign) if sign else token)
    return heard


def _spoken_sign(token: Token, before: Kind, after: Token) -> str | None:
    operand = after.kind in ("number", "open", "name", "root")
    if token.kind == "word" and token.text in _SPOKEN:
        return _SPOKEN[token.text] if operand or after.text == "-" else None
    if token.kind == "word" and after.text == "by":
        return _SPOKEN_BY.get(token.text)
    if token.text == "of" and before not in ("name", "word") and after.kind in ("number", "open"):
        return "of"
    # An x between two numbers is a cross: `5 x 3`, `2 apples x 4`, `5x3`; not the x of `2x + 3` or `2x (x + 1)`.
    crosses = after.kind == "number" or (after.kind == "open" and after.spaced and token.spaced)
    return "*" if token.kind == "name" and token.text in "xX" and before != "name" and crosses else None
