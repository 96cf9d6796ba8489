"""Judges `left = right` between numbers: exactly, with what rounding and ways of writing may excuse left unknown."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction

from serving.answer import StepState
from serving.confidence.self_verify.expressions import Expression, Minus, Node, Number, Operation
from serving.confidence.self_verify.pairs import Pair
from serving.confidence.self_verify.values import DividesByZero, NoValue, Reading, evaluate, half_digit
from serving.confidence.self_verify.wording import COINS, FACTORS, SCALES

_ABOUT, _FAR_FROM_ABOUT = Fraction(1, 50), Fraction(1, 5)  # `about 50` may be 2 % away, and is false beyond 20 %
_PRINTED = Fraction(1, 10**9)  # 16.830000000000002 is what a program prints for 16.83; never more than 1e-6
_PRINTED_PLACES = 9
_COMPARISONS: Mapping[str, Callable[[Fraction, Fraction], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "≤": operator.le,
    "≥": operator.ge,
    "≠": operator.ne,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    state: StepState
    why: str = ""


def judge(pair: Pair, reading: Reading) -> Verdict:
    """Never raises; whatever cannot be worked out within bounds is unknown."""
    try:
        values = list(_values(pair, reading))
        if pair.relation in _COMPARISONS:
            return _compared(pair, *values[0])
        if any(left == right for left, right in values):
            return Verdict("unknown", "It may turn one unit into another.") if _scaled(pair) else Verdict("valid")
        return _rounded(pair, values) or _unequal(pair, *values[0], reading)
    except DividesByZero as reason:
        return Verdict("invalid", str(reason))
    except NoValue as reason:
        return Verdict("unknown", str(reason))


def shown(value: Fraction) -> str:
    """A number as people write it: whole, or to six significant digits."""
    if value.denominator == 1:
        text = str(value.numerator) if value.numerator.bit_length() < 200 else ""
    else:
        try:
            text = f"{float(value):.6g}"
        except OverflowError:
            text = ""
    return text or "a number too long to be shown"


def rounds_to(exact: Fraction, literal: Number | None, written: Fraction) -> bool:
    """Whether decimals written out are the exact value rounded to the nearest or, where they have no end, cut off."""
    if literal is None or literal.places == 0 or written == 0 or (exact * 10**literal.places).denominator == 1:
        return False
    apart = abs(exact - written)
    cut_off = _has_no_end(exact) and abs(written) < abs(exact) and apart < 2 * half_digit(literal.places)
    return cut_off or apart <= half_digit(literal.places)


def _has_no_end(value: Fraction) -> bool:
    """Whether its decimals go on for ever: no power of ten is a multiple of its denominator."""
    return pow(10, value.denominator.bit_length(), value.denominator) != 0


def _values(pair: Pair, reading: Reading) -> Iterator[tuple[Fraction, Fraction]]:
    """Both sides in every way in which people mean them, the strict one first."""
    left, right = evaluate(pair.one.node, reading), evaluate(pair.other.node, reading)
    yield left, right
    if pair.left.dash:
        yield evaluate(_without_dash(pair.one.node), reading), right
    if pair.other.percent and pair.other.literal and not pair.one.percent and _is_times_100(pair.one.node):
        yield left / 100, right
    if pair.one.percent or pair.other.percent:
        meant = replace(reading, percent="of the left")
        with suppress(NoValue):  # strictly read it has a value
            yield evaluate(pair.one.node, meant), evaluate(pair.other.node, meant)


def _is_times_100(node: Node) -> bool:
    """`90 / 30 * 100` is 300 %."""
    while isinstance(node, Operation) and node.sign in "*/":
        if node.sign == "*" and any(isinstance(side, Number) and side.value == 100 for side in (node.left, node.right)):
            return True
        node = node.left
    return False


def _without_dash(node: Node) -> Node:
    if isinstance(node, Operation):
        return replace(node, left=_without_dash(node.left))
    return node.of if isinstance(node, Minus) else node


def _compared(pair: Pair, left: Fraction, right: Fraction) -> Verdict:
    if _COMPARISONS[pair.relation](left, right):
        return Verdict("valid")
    return _excused(pair, left, right) or Verdict("invalid", f"{shown(left)} {pair.relation} {shown(right)} is false.")


def _rounded(pair: Pair, values: Sequence[tuple[Fraction, Fraction]]) -> Verdict | None:
    """Whether one side is the other rounded, in any way of meaning a percent sign."""
    about = pair.relation == "≈" or pair.right.about or pair.left.about
    places = max((number.places for number in (*pair.one.numbers, *pair.other.numbers)), default=0)
    for left, right in values:
        apart, size = abs(left - right), max(abs(left), abs(right))
        whole = _is_whole(pair.other, left) or _is_whole(pair.one, right)
        if rounds_to(left, pair.other.literal, right) or rounds_to(right, pair.one.literal, left):
            return Verdict("valid", "Rounded.")
        if about and (apart <= _ABOUT * size or (whole and apart <= half_digit(0))):
            return Verdict("valid", "Rounded.")
        if places >= _PRINTED_PLACES and apart <= _PRINTED * min(size, Fraction(1000)):
            return Verdict("valid", "Equal but for the last digits of a computer's number.")
    left, right = values[0]
    if about and abs(left - right) <= max(Fraction(1), _FAR_FROM_ABOUT * max(abs(left), abs(right))):
        return Verdict("unknown", f"{shown(left)} and {shown(right)} are only roughly equal.")
    return None


def _is_whole(rounded: Expression, exact: Fraction) -> bool:
    """Whether it is a whole number, and what it may be rounded from is not so small that rounding leaves nothing."""
    return rounded.literal is not None and rounded.literal.places == 0 and not rounded.percent and abs(exact) >= 1


def _unequal(pair: Pair, left: Fraction, right: Fraction, reading: Reading) -> Verdict:
    excuse = _excused(pair, left, right) or _rounding(pair, left, right, reading)
    return excuse or Verdict("invalid", f"It comes to {shown(left)}, not {shown(right)}.")


def _excused(pair: Pair, left: Fraction, right: Fraction) -> Verdict | None:
    """Reasons to leave a false equation unknown that lie in how it is written, not in its numbers."""
    if pair.one.ambiguous or pair.other.ambiguous:
        return Verdict("unknown", "It can be read in more than one way.")
    if pair.left.joined:
        return Verdict("unknown", "Words before it may belong to the calculation.")
    if pair.first and pair.one.literal and pair.relation not in _COMPARISONS:
        return Verdict("unknown", "It sets two different numbers equal, so one may stand for something else.")
    if pair.one.percent or pair.other.percent:
        return Verdict("unknown", "It depends on how the percent sign is meant.")
    if _converts(pair.left.units, pair.right.units, left, right):
        return Verdict("unknown", "It may turn one unit into another.")
    return None


def _scaled(pair: Pair) -> bool:
    """Whether a true equation may be false of what it counts: 3 dollars and 50 cents are not 53."""
    left, right = pair.left.units, pair.right.units
    if left != right and (left | right) & (SCALES | COINS):
        return True
    sides = ((left, pair.one.node), (right, pair.other.node))
    return any(len(units) > 1 and isinstance(node, Operation) and node.sign in "+-" for units, node in sides)


def _converts(left: frozenset[str], right: frozenset[str], one: Fraction, other: Fraction) -> bool:
    """Whether units may explain the difference: other units on both sides, or a usual factor between the numbers."""
    if left and right:
        return left != right or len(left) > 1
    if (left | right) & (SCALES | COINS):
        return True
    if not (left or right) or not (one and other):
        return False
    ratio = max(abs(one / other), abs(other / one))
    return len(left | right) > 1 or ratio in FACTORS


def _rounding(pair: Pair, left: Fraction, right: Fraction, reading: Reading) -> Verdict | None:
    """Whether rounding, of the result or of a decimal that goes in, may explain the difference."""
    apart = abs(left - right)
    for exact, literal in ((left, pair.other.literal), (right, pair.one.literal)):
        if literal and (exact * 10**literal.places).denominator != 1 and apart < 2 * half_digit(literal.places):
            return Verdict("unknown", f"{shown(exact)} may have been rounded.")
    slack = Fraction(0)
    for expression, value in ((pair.one, left), (pair.other, right)):
        for number in expression.numbers:
            if number.places and not expression.literal:
                slack += abs(evaluate(expression.node, replace(reading, nudged=number.index)) - value)
    if slack and apart <= slack + half_digit(max(number.places for number in pair.other.numbers or pair.one.numbers)):
        return Verdict("unknown", "Rounded numbers go into it; it may be true of what they stand for.")
    return None
