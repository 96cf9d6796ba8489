"""Follows an answer from equation to equation: what its letters stand for, and which equations come from which."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction

from serving.confidence.self_verify import limits
from serving.confidence.self_verify.algebra import Equation, Solutions, identical, solutions, stated_value, transformed
from serving.confidence.self_verify.arithmetic import Verdict, judge
from serving.confidence.self_verify.chains import Chain
from serving.confidence.self_verify.expressions import Expression, Name
from serving.confidence.self_verify.pairs import Pair, runs_on, substitutes
from serving.confidence.self_verify.question import Asked
from serving.confidence.self_verify.values import Budget, NoValue, Reading, evaluate

_SENTENCE_END = re.compile(r"[.;!?](?!\d)|\n")
_SUPPOSING = re.compile(r"\b(?:suppos\w*|if|would|try|tries|tried|trying|assum\w*)\b", re.IGNORECASE)
_SIGNED = re.compile(r"(?:(?P<sign>[-−–±]|\\pm\b)\s*)?(?P<over>\d+(?:\.\d+)?)(?:\s*/\s*(?P<under>\d+))?")


def _numbers(text: str) -> Iterator[Fraction]:
    """Every number that a text writes out, with the sign before it."""
    for match in _SIGNED.finditer(text):
        over, under = match["over"], match["under"] or "1"
        if len(over) > limits.DIGITS or len(under) > limits.DIGITS or not int(under):
            continue
        value = Fraction(over) / int(under)
        if match["sign"] in ("±", "\\pm"):
            yield value
        yield -value if match["sign"] else value


def _alone(solved: Solutions) -> frozenset[Fraction]:
    """The solution of an equation that has one: `x - 3 = 0` tells of 3."""
    return frozenset(root for root in solved or () if isinstance(root, Fraction) and len(solved or ()) == 1)


@dataclass(slots=True)
class Derivation:
    asked: Asked | None
    symbolic: bool
    text: str = ""
    budget: Budget = field(default_factory=Budget)
    names: dict[str, Fraction] = field(default_factory=dict)  # what the text says they stand for
    disputed: set[str] = field(default_factory=set)  # names that were given two values
    equations: list[Equation] = field(default_factory=list)  # since the question's own
    values: set[Fraction] = field(default_factory=set)  # all v of `x = v`
    told: set[Fraction] = field(default_factory=set)  # all numbers of the text, and what its equations are solved by

    def __post_init__(self) -> None:
        if self.asked and self.asked.other and self.asked.unknown:
            self._add(self.asked.one, self.asked.other, self.asked.unknown, asked=True)

    def foresee(self, found: Iterable[Chain]) -> None:
        """Note every `x = v` beforehand: `x = 2` loses no solution where `or x = -2` follows."""
        self.told.update(_numbers(self.text))
        spent = Budget()
        for chain in found:
            one, other = chain.members[0].expression, chain.members[1].expression
            if not one or not other:
                continue
            value = stated_value(one, other)
            if value is not None:
                self.values.add(value)
            names = one.names | other.names
            if len(names) == 1:
                with suppress(NoValue):
                    self.told.update(_alone(solutions(one, other, min(names), spent, symbolic=False)))

    def follow(self, chain: Chain) -> Verdict | None:
        """The verdict on a chain; None where it claims nothing that could be checked, like `x = 5` out of nowhere."""
        verdicts = [verdict for verdict in self._verdicts(chain) if verdict]
        self._define(chain)
        for state in ("invalid", "unknown", "valid"):
            for verdict in verdicts:
                if verdict.state == state:
                    return verdict
        return None

    def result_of(self, chain: Chain) -> Fraction | None:
        last = chain.members[-1].expression
        try:
            return evaluate(last.node, Reading(self.budget, self.names)) if last else None
        except NoValue:
            return None

    def _verdicts(self, chain: Chain) -> Iterator[Verdict | None]:
        for at, relation in enumerate(chain.relations):
            left, right = chain.members[at], chain.members[at + 1]
            if left.expression is None or right.expression is None:
                objection = left.objection or right.objection
                yield Verdict("unknown", objection) if objection else None
                continue
            pair = Pair(left, relation, right, left.expression, right.expression, at == 0)
            if pair.names <= self._known(pair):
                yield self._numbers(pair)
            else:
                yield self._unless_supposed(self._algebra(pair), chain)

    def _unless_supposed(self, verdict: Verdict | None, chain: Chain) -> Verdict | None:
        if not verdict or verdict.state != "invalid":
            return verdict
        sentence = _SENTENCE_END.split(self.text[: chain.start])[-1] + _SENTENCE_END.split(self.text[chain.end :])[0]
        return Verdict("unknown", "It is only supposed.") if _SUPPOSING.search(sentence) else verdict

    def _known(self, pair: Pair) -> set[str]:
        """The names with one value. At the head of a chain a name is given a value, not used."""
        known = self.names.keys() - self.disputed
        return known - pair.one.names if pair.first and isinstance(pair.one.node, Name) else known

    def _numbers(self, pair: Pair) -> Verdict:
        reading = Reading(self.budget, self.names)
        verdict = judge(pair, reading)
        if verdict.state != "invalid":
            return verdict
        if pair.names and not substitutes(pair, self.names):
            return Verdict("unknown", "A letter in it may stand for something else by now.")
        if runs_on(pair, reading):
            return Verdict("unknown", "Read as one equation it is false; read as a running total it may be true.")
        return verdict

    def _algebra(self, pair: Pair) -> Verdict | None:
        if pair.relation != "=":
            return None
        if pair.one.ambiguous or pair.other.ambiguous:
            return Verdict("unknown", "It can be read in more than one way.")
        rewritten = self._rewritten(pair)
        if rewritten is not None or len(pair.names) != 1:
            return rewritten
        (name,) = pair.names
        earlier = [equation for equation in self.equations if equation.name == name]
        if isinstance(pair.one.node, Name) and not earlier:
            return None  # `x = 5` or `y = 2x` out of nowhere
        after = self._add(pair.one, pair.other, name)
        if after is None:
            return Verdict("unknown", "Its solutions could not be worked out.") if earlier else None
        if not earlier:
            return None
        origin = earlier[0] if earlier[0].asked else earlier[-1]
        return transformed(earlier[-1], origin, after, self.values, self.told)

    def _add(self, one: Expression, other: Expression, name: str, *, asked: bool = False) -> Equation | None:
        try:
            solved = solutions(one, other, name, self.budget, symbolic=self.symbolic)
        except NoValue:
            return None
        self.equations.append(Equation(one, other, name, solved, asked))
        return self.equations[-1]

    def _rewritten(self, pair: Pair) -> Verdict | None:
        """An expression written in another way; None where it is an equation that only some numbers solve."""
        try:
            if not isinstance(pair.one.node, Name) and identical(
                pair.one, pair.other, self.budget, symbolic=self.symbolic
            ):
                return Verdict("valid")
            if self._rewrites_the_question(pair):
                return Verdict("invalid", "The two sides are not equal for every value.")
        except NoValue as reason:
            return Verdict("unknown", str(reason))
        return None

    def _rewrites_the_question(self, pair: Pair) -> bool:
        asked = self.asked
        if not asked or asked.other or not asked.one.names >= pair.names or asked.one.names != pair.one.names:
            return False
        return identical(asked.one, pair.one, self.budget, symbolic=self.symbolic)

    def _define(self, chain: Chain) -> None:
        """`A = 3 + 4 = 7`: A is 7 from here on, as the text itself goes on to use it."""
        first = chain.members[0].expression
        if first is None or not isinstance(first.node, Name) or set(chain.relations) != {"="}:
            return
        name, value = first.node.text, self.result_of(chain)
        if value is None:
            return
        if self.names.get(name, value) != value:
            self.disputed.add(name)
        self.names[name] = value
