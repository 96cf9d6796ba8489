"""Reads what a question asks to be worked out, where nothing but a formula and words of asking stand in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from serving.confidence.self_verify import limits
from serving.confidence.self_verify.chains import Chain, chains, roles
from serving.confidence.self_verify.expressions import Expression, Unreadable, parse
from serving.confidence.self_verify.tokens import Token, tokenize
from serving.confidence.self_verify.wording import words

# A question with any other word may ask for something else: `12 + 7 in binary`, `the digits of 3 * 4`.
_ASKING = words(
    """
    what is are s the a value of result answer to compute calculate calc evaluate work out find solve for if when which
    satisfies given equal equals how much does do you we get please can could would tell me give i need hi hello hey
    it this that equation expression following determine and then so in terms just simplify expand factor factorise
    factorize such be must will let us now dear know want your my
    """
)
_NUMBER = r"(-?\d[\d,]{0,40}(?:\.\d{1,40})?)"
_TOLD = tuple(
    (re.compile(pattern.replace("#", _NUMBER)), formula)
    for pattern, formula in (
        (r"\bsum of # and #", "{0} + {1}"),
        (r"\badd # (?:and|to) #", "{0} + {1}"),
        (r"\bdifference (?:between|of) # and #", "{0} - {1}"),
        (r"\bsubtract # from #", "{1} - {0}"),
        (r"\b(?:is )?left when # is (?:taken|subtracted)(?: away)? from #", "{1} - {0}"),
        (r"\bproduct of # and #", "{0} * {1}"),
        (r"\bmultiply # (?:by|and|with) #", "{0} * {1}"),
        (r"\bquotient of # and #", "{0} / {1}"),
        (r"\bdivide # by #", "{0} / {1}"),
        (r"\bhow (?:many times|often) does # (?:fit|go) into #", "{1} / {0}"),
    )
)


@dataclass(frozen=True, slots=True)
class Asked:
    """An expression to be worked out or rewritten, or an equation to be solved for its one name."""

    one: Expression
    other: Expression | None = None  # the right side of an equation

    @property
    def unknown(self) -> str | None:
        """The equation's unknown."""
        if self.other is None:
            return None
        (name,) = self.one.names | self.other.names
        return name


def read_question(question: str) -> Asked | None:
    """None where the question holds no formula, more than one, or words that may change what is asked."""
    if not question or len(question) > limits.CHARACTERS:
        return None
    return _told_in_words(question) or _formula(tokenize(question))


def _told_in_words(question: str) -> Asked | None:
    for pattern, formula in _TOLD:
        if match := pattern.search(question.lower()):
            rest = question[: match.start()] + " " + question[match.end() :]
            if not all(_is_asking(token) for token in tokenize(rest)):
                return None
            numbers = [number.replace(",", "") for number in match.groups()]
            return _expression(tokenize(formula.format(*(f"({number})" for number in numbers))))
    return None


def _formula(tokens: list[Token]) -> Asked | None:
    tokens = roles(tokens)
    relations = [at for at, token in enumerate(tokens) if token.kind == "relation"]
    if len(relations) == 1 and tokens[relations[0]].text == "=":
        found = list(chains(tokens))
        if len(found) == 1 and (asked := _equation(found[0], tokens)):
            return asked
        tokens = tokens[: relations[0]] + [t for t in tokens[relations[0] + 1 :] if t.text != "?"]
    elif relations:
        return None
    inside = [at for at, token in enumerate(tokens) if not _is_asking(token)]
    if not inside:
        return None
    formula = tokens[inside[0] : inside[-1] + 1]
    return _expression(formula) if any(token.kind == "sign" for token in formula) else None


def _equation(chain: Chain, tokens: Sequence[Token]) -> Asked | None:
    left, right = chain.members
    if left.expression is None or right.expression is None:
        return None
    names = left.expression.names | right.expression.names
    around = [t for t in tokens if (t.end <= chain.start or t.start >= chain.end) and t.text not in names]
    if len(names) != 1 or not all(_is_asking(token) for token in around):
        return None
    return Asked(left.expression, right.expression)


def _expression(tokens: Sequence[Token]) -> Asked | None:
    try:
        expression = parse(tokens)
    except Unreadable:
        return None
    return None if expression.ambiguous or any(token.kind == "unit" for token in tokens) else Asked(expression)


def _is_asking(token: Token) -> bool:
    return token.kind in ("stop", "line") or (token.kind == "word" and token.text in _ASKING)
