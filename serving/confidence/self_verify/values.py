"""Works expressions out exactly, as fractions, within bounds of size and of work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import isqrt
from typing import Literal

from serving.confidence.self_verify import limits
from serving.confidence.self_verify.expressions import Minus, Name, Node, Number, Operation, Percent, Root, Sign

# How a percent sign is meant: 20 % = 0.2; `50 + 20 %` = 60.
PercentMeans = Literal["hundredth", "of the left"]


class NoValue(Exception):
    """The message says why in words."""


class DividesByZero(NoValue):
    def __init__(self) -> None:
        super().__init__("It divides by zero.")


class BeyondLimits(NoValue):
    def __init__(self) -> None:
        super().__init__("Its numbers are too large to be checked.")


class UnknownName(NoValue):
    def __init__(self, name: str) -> None:
        super().__init__(f"It is not known what {name} stands for.")


class NotExact(NoValue):
    def __init__(self) -> None:
        super().__init__("It has no exact value as a fraction.")


@dataclass(slots=True)
class Budget:
    """Operations that are left for one answer."""

    left: int = limits.OPERATIONS

    def spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise NoValue("The answer is too long to be checked as a whole.")


@dataclass(slots=True)
class Reading:
    """What names and percent signs stand for; `nudged` is a number that is read half a last digit higher."""

    budget: Budget
    names: Mapping[str, Fraction] = field(default_factory=dict)
    percent: PercentMeans = "hundredth"
    nudged: int | None = None


def evaluate(node: Node, reading: Reading) -> Fraction:
    """Raises NoValue. As deep as the tree; every intermediate result is held to limits.BITS."""
    reading.budget.spend()
    match node:
        case Number():
            return node.value + (half_digit(node.places) if node.index == reading.nudged else 0)
        case Name():
            if node.text not in reading.names:
                raise UnknownName(node.text)
            return reading.names[node.text]
        case Minus():
            return -evaluate(node.of, reading)
        case Percent():
            return evaluate(node.of, reading) / 100
        case Root():
            return _root(evaluate(node.of, reading))
        case Operation():
            left, right = evaluate(node.left, reading), evaluate(node.right, reading)
            if reading.percent == "of the left" and _changes_by_a_share(node):
                right *= left
            return _SIGNS[node.sign](left, right)


def _changes_by_a_share(node: Operation) -> bool:
    """`50 + 20 %`, but not `10 % + 20 %`."""
    return node.sign in "+-" and isinstance(node.right, Percent) and not isinstance(node.left, Percent)


def half_digit(places: int) -> Fraction:
    """Half a unit of the last decimal: what rounding may have taken or given."""
    return Fraction(1, 2 * 10**places)


def _add(left: Fraction, right: Fraction) -> Fraction:
    return _bounded(left + right)


def _subtract(left: Fraction, right: Fraction) -> Fraction:
    return _bounded(left - right)


def _multiply(left: Fraction, right: Fraction) -> Fraction:
    return _bounded(left * right)


def _divide(left: Fraction, right: Fraction) -> Fraction:
    if right == 0:
        raise DividesByZero
    return _bounded(left / right)


def _raise(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator == 2 and base >= 0 and abs(exponent) <= limits.EXPONENT:
        base, exponent = _root(base), exponent * 2
    if exponent.denominator != 1:
        raise NotExact
    power = abs(exponent.numerator)
    if power > limits.EXPONENT or power * _bits(base) > limits.BITS:  # before it is worked out
        raise BeyondLimits
    return _divide(Fraction(1), base**power) if exponent < 0 else base**power


def _root(value: Fraction) -> Fraction:
    if value < 0:
        raise NotExact
    over, under = isqrt(value.numerator), isqrt(value.denominator)
    if over * over != value.numerator or under * under != value.denominator:
        raise NotExact
    return Fraction(over, under)


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _bounded(value: Fraction) -> Fraction:
    if _bits(value) > limits.BITS:
        raise BeyondLimits
    return value


_SIGNS: Mapping[Sign, Callable[[Fraction, Fraction], Fraction]] = {
    "+": _add,
    "-": _subtract,
    "*": _multiply,
    "/": _divide,
    "^": _raise,
}
