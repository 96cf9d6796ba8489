"""Finds the answer that a text states, and puts it back into the question."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from serving.answer import Step
from serving.confidence.self_verify.algebra import identical, solutions
from serving.confidence.self_verify.answer_step import DEPARTS, PUT_BACK
from serving.confidence.self_verify.arithmetic import Verdict, judge, shown
from serving.confidence.self_verify.chains import Member, chains, formula_behind, roles
from serving.confidence.self_verify.expressions import Expression, Name, Number, Operation, parts
from serving.confidence.self_verify.pairs import Pair
from serving.confidence.self_verify.question import Asked
from serving.confidence.self_verify.tokens import Token, tokenize
from serving.confidence.self_verify.values import Budget, DividesByZero, NoValue, Reading, evaluate, half_digit
from serving.confidence.self_verify.wording import words

_MARK = re.compile(
    r"####|\\boxed|(?:^|\n)[ \t]*\**A(?:nswer)?\**[ \t]*:\**|\b[Aa]nswer\**(?:[ \t]+is\b|[ \t]*[:=])|\bANSWER:"
)

_SENTENCE_END = re.compile(r"[.;:!?\n]")
_LEADING = words(
    """
    the is be so it that this which final correct right exact result value total answer therefore thus hence then
    equals equal to we get have of
    """
)
_LINKING = words("or and")
_STOPS_BEFORE = frozenset('.,:;"“”')
_STOPS_BEHIND = frozenset('.,;"“”')  # not `5!`, which may be a factorial


@dataclass(frozen=True, slots=True)
class Stated:
    start: int  # characters of the text
    end: int
    members: tuple[Member, ...]  # `5`, or what stands behind `x =` in each of `x = 2 or x = -2`
    heads: tuple[Member, ...] = ()  # what stands before the first `=` of each; none where there is none
    plain: bool = True  # nothing but formulas and words that change nothing of what they say

    @property
    def formula(self) -> Expression | None:
        return self.members[-1].expression


def stated_answer(text: str) -> Stated | None:
    """The formula behind the last mark such as `Answer:`, `####` or `\\boxed`, or a text that is one formula."""
    marks = list(_MARK.finditer(text))
    start = marks[-1].end() if marks else 0
    line = text[start : (text.find("\n", start) + 1 or len(text) + 1) - 1]
    if not marks and line.strip() != text.strip():
        return None
    tokens = roles(tokenize(line, start))
    found = list(chains(tokens))
    members = [chain.members[-1] for chain in found] or _lone_member(tokens)
    if not members or any(member.expression is None for member in members):
        return None
    before = text[: marks[-1].start()] if marks and marks[-1][0][0] != "\n" else ""
    rest = tokenize(text[start + len(line) :], start + len(line))
    around = [*tokenize(_SENTENCE_END.split(before)[-1]), *tokens, *rest]
    taken = [(chain.start, chain.end) for chain in found] or [(members[0].start, members[0].end)]
    plain = all(set(chain.relations) == {"="} for chain in found) and _is_plain(around, taken)
    plain = plain and not text.startswith(("- ", "– ", "− "), members[-1].start)  # it may be a dash
    heads = tuple(chain.members[0] for chain in found)
    return Stated(members[0].start, members[-1].end, tuple(members), heads, plain)


def _lone_member(tokens: Sequence[Token]) -> list[Member]:
    at = next((at for at, token in enumerate(tokens) if token.kind in ("number", "sign", "open", "name", "root")), None)
    return [] if at is None else [formula_behind(tokens, at - 1)]


def _is_plain(tokens: Sequence[Token], taken: Sequence[tuple[int, int]]) -> bool:
    """Whether nothing stands around the formulas but words that only lead up to them, `or` between two, and stops."""
    first, last = taken[0][0], taken[-1][1]
    for token in tokens:
        if any(start <= token.start < end for start, end in taken):
            continue
        words = _LEADING if token.start < first else _LINKING if token.start < last else frozenset[str]()
        stops = _STOPS_BEFORE if token.start < first else _STOPS_BEHIND
        if not (token.kind == "line" or (token.kind == "word" and token.text in words) or token.text in stops):
            return False
    return True


def put_back(stated: Stated, asked: Asked, budget: Budget, *, symbolic: bool) -> Step:
    """The step that says whether the stated answer is what the question asks for."""
    try:
        verdict = _verdict(stated, asked, budget, symbolic=symbolic)
    except NoValue as reason:
        verdict = Verdict("unknown", str(reason))
    told = {"valid": "the answer holds.", "invalid": "the answer fails.", "unknown": "the answer could not be checked."}
    return Step(stated.start, stated.end, verdict.state, f"{PUT_BACK}, {told[verdict.state]} {verdict.why}".rstrip())


def departure(stated: Stated, last: Fraction, budget: Budget) -> Step | None:
    """For a question that holds no formula: a step where the answer is not what the last equation came to.

    It is unknown: the last equation need not have been the answer's.
    """
    try:
        value = evaluate(stated.formula.node, Reading(budget)) if stated.formula else last
    except NoValue:
        return None
    if value in (last, last * 100, last / 100):  # a share may be told in per cent
        return None
    return Step(stated.start, stated.end, "unknown", f"{DEPARTS} {shown(last)}, not {shown(value)}.")


def _verdict(stated: Stated, asked: Asked, budget: Budget, *, symbolic: bool) -> Verdict:
    if not stated.plain or not _names_fit(stated, asked):
        return Verdict("unknown", "The words around it may say something else.")
    if asked.other is not None and asked.unknown:
        verdicts = [_solves(member, asked.one, asked.other, asked.unknown, budget) for member in stated.members]
        if failed := next((verdict for verdict in verdicts if verdict.state != "valid"), None):
            return failed
        if _has_more_solutions(asked.one, asked.other, asked.unknown, len(verdicts)):
            return Verdict("unknown", "It has other solutions.")
        return verdicts[-1]
    member = stated.members[-1]
    if member.expression is None or len(stated.members) > 1:
        return Verdict("unknown")
    if _repeats(member.expression, asked.one):
        return Verdict("unknown", "It repeats the question.")
    if asked.one.names:
        same = identical(asked.one, member.expression, budget, symbolic=symbolic)
        return Verdict("valid") if same else Verdict("invalid", "It is not equal for every value.")
    question = Member(0, 0, asked.one)
    return judge(Pair(question, "=", member, asked.one, member.expression, first=False), Reading(budget))


def _names_fit(stated: Stated, asked: Asked) -> bool:
    """Whether what stands before `=` is what the question asks for, or a formula in none but its own names."""
    heads = [head.expression for head in stated.heads if head.expression]
    if asked.unknown:
        named = all(not head.names or head.node == Name(asked.unknown) for head in heads)
        return named and not any(member.expression and member.expression.names for member in stated.members)
    return all(head.names <= asked.one.names and not isinstance(head.node, Name) for head in heads)


def _repeats(answer: Expression, question: Expression) -> bool:
    """Whether it is the question's expression again, with its numbers and signs in this order or another."""
    return _leaves(answer) == _leaves(question)


def _leaves(expression: Expression) -> Counter[object]:
    told: Counter[object] = Counter()
    for node in parts(expression.node):
        match node:
            case Number():
                told[node.value] += 1
            case Name():
                told[node.text] += 1
            case Operation():
                told[node.sign] += 1
            case _:
                told[type(node)] += 1
    return told


def _solves(member: Member, one: Expression, other: Expression, name: str, budget: Budget) -> Verdict:
    if member.expression is None:
        return Verdict("unknown")
    value = evaluate(member.expression.node, Reading(budget))
    try:
        apart = _apart(one, other, name, value, budget)
        if apart == 0:
            return Verdict("valid")
        literal = member.expression.literal
        if literal and literal.places:
            half = half_digit(literal.places)
            if value and _changes_sides(one, other, name, value - half, value + half, budget):
                return Verdict("valid", "Rounded.")
            cut = 2 * half if value >= 0 else -2 * half
            if _changes_sides(one, other, name, value if value else -cut, value + cut, budget):
                return Verdict("unknown", "It may have been cut off.")
    except DividesByZero:
        return Verdict("invalid", f"For {name} = {shown(value)} it divides by zero.")
    left = evaluate(one.node, Reading(budget, {name: value}))
    return Verdict("invalid", f"The left side comes to {shown(left)}, the right side to {shown(left - apart)}.")


def _has_more_solutions(one: Expression, other: Expression, name: str, stated: int) -> bool:
    try:
        solved = solutions(one, other, name, Budget(), symbolic=False)
    except NoValue:
        return False
    return solved is not None and len(solved) > stated


def _changes_sides(
    one: Expression, other: Expression, name: str, low: Fraction, high: Fraction, budget: Budget
) -> bool:
    """Whether a solution lies between the two numbers."""
    return _apart(one, other, name, low, budget) * _apart(one, other, name, high, budget) <= 0


def _apart(one: Expression, other: Expression, name: str, value: Fraction, budget: Budget) -> Fraction:
    reading = Reading(budget, {name: value})
    return evaluate(one.node, reading) - evaluate(other.node, reading)
