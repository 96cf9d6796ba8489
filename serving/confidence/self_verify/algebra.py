"""Judges equations with unknowns: identities at random points, and whether the next equation has the same solutions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from random import Random
from typing import TypeAlias

from serving.confidence.self_verify.arithmetic import Verdict, rounds_to, shown
from serving.confidence.self_verify.expressions import Expression, Name
from serving.confidence.self_verify.polynomials import polynomial, solve
from serving.confidence.self_verify.values import Budget, DividesByZero, NotExact, NoValue, Reading, evaluate

Solutions: TypeAlias = frozenset[Fraction | str] | None  # None: every number is one
_POINTS = 6


@dataclass(frozen=True, slots=True)
class Equation:
    """An equation in one name with the real numbers that solve it."""

    one: Expression
    other: Expression
    name: str
    solutions: Solutions
    asked: bool = False  # the question's own

    @property
    def value(self) -> Fraction | None:
        return stated_value(self.one, self.other)


def stated_value(one: Expression, other: Expression) -> Fraction | None:
    """v where an equation reads `x = v`."""
    if not isinstance(one.node, Name) or other.names:
        return None
    try:
        return evaluate(other.node, Reading(Budget()))
    except NoValue:
        return None


def identical(one: Expression, other: Expression, budget: Budget, *, symbolic: bool) -> bool:
    """Whether both sides are equal whatever their names stand for. Raises NoValue where it cannot be told.

    Polynomials and quotients are compared as exact fractions at random points (Schwartz 1980, Zippel 1979).
    """
    names, rng, compared = sorted(one.names | other.names), Random(0), 0
    try:
        for _ in range(_POINTS * 2):
            point = {name: Fraction(rng.randint(-400, 400), rng.randint(1, 40)) for name in names}
            try:
                left, right = (evaluate(side.node, Reading(budget, point)) for side in (one, other))
            except DividesByZero:
                continue
            if left != right:
                return False
            compared += 1
            if compared == _POINTS:
                return True
    except NotExact:
        if not symbolic:
            raise
    if not symbolic:
        raise NoValue("It could not be compared at enough points.")
    from serving.confidence.self_verify import symbolic as by_sympy  # heavy, and only where fractions do not do

    return by_sympy.identical(one, other)


def solutions(one: Expression, other: Expression, name: str, budget: Budget, *, symbolic: bool) -> Solutions:
    """The real numbers that solve an equation. Raises NoValue where they cannot be worked out."""
    try:
        return solve(polynomial(one.node, budget), polynomial(other.node, budget))
    except NoValue:
        if not symbolic:
            raise
    from serving.confidence.self_verify import symbolic as by_sympy

    return by_sympy.solutions(one, other, name)


def transformed(
    before: Equation, origin: Equation, after: Equation, values: Iterable[Fraction], told: Iterable[Fraction]
) -> Verdict:
    """Whether `after` has the solutions of the equation before it or of the one it all began with.

    `values` are all that the text says the name may be (`x = 2 or x = -2`), so that a case is no lost solution.
    What it has `told` of elsewhere need not be lost either.
    """
    old, first, new, name = before.solutions, origin.solutions, after.solutions, after.name
    if new in (old, first):
        return Verdict("valid")
    if old is None or new is None or first is None:
        return Verdict("unknown", "One of the two equations holds for every number.")
    if after.value is not None and new <= first <= frozenset(values):
        return Verdict("valid", "One of several solutions.")
    if after.value is not None and any(_rounds_to(root, after) for root in first):
        return Verdict("valid", "Rounded.")
    if new > first:
        added = _shown(new - first)
        return Verdict("unknown", f"{name} = {added} was no solution before; squaring or multiplying may add some.")
    if not origin.asked:
        return Verdict("unknown", "It may be a new equation; it does not have the solutions of the one before it.")
    if new < first and first - new <= frozenset(told):
        return Verdict("unknown", f"{name} = {_shown(first - new)} may be told of elsewhere.")
    if new < first:
        return Verdict("invalid", f"The solution {name} = {_shown(first - new)} is lost.")
    if new and new.isdisjoint(first):
        return Verdict(
            "invalid", f"{name} = {_shown(new)} solves it, {name} = {_shown(first)} the question's equation."
        )
    return Verdict("unknown", "It does not have the solutions of the question's equation.")


def _rounds_to(root: Fraction | str, after: Equation) -> bool:
    value = after.value
    return value is not None and rounds_to(Fraction(root), after.other.literal, value)


def _shown(roots: Iterable[Fraction | str]) -> str:
    told = sorted(shown(root) if isinstance(root, Fraction) else f"{float(root):.6g}" for root in roots)
    return " or ".join(told)
