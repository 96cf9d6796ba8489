"""Asks sympy what exact fractions cannot settle: roots, quotients of names, powers. For the subprocess alone.

The trees are turned into sympy's own objects; no text of an answer is ever evaluated.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import wraps
from random import Random
from typing import Any, ParamSpec, TypeVar

import sympy

from serving.confidence.self_verify.expressions import Expression, Minus, Name, Node, Number, Operation, Percent, Root
from serving.confidence.self_verify.values import NoValue

_DIGITS = 30
_EQUAL = sympy.Float("1e-20")
_POINTS = 4
_LARGEST_POWER = 16


class NotSolved(NoValue):
    def __init__(self) -> None:
        super().__init__("Its solutions could not be worked out.")


P = ParamSpec("P")
T = TypeVar("T")


def _settled(ask: Callable[P, T]) -> Callable[P, T]:
    """sympy raises much that it does not tell of; all of it means that it could not settle the matter."""

    @wraps(ask)
    def asked(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return ask(*args, **kwargs)
        except NoValue:
            raise
        except Exception as error:
            raise NotSolved from error

    return asked


@_settled
def identical(one: Expression, other: Expression) -> bool:
    """Whether both are equal at random points where both have a real value. Raises NoValue where there are none."""
    names = sorted(one.names | other.names)
    difference = _sympy(one.node) - _sympy(other.node)
    rng, compared = Random(0), 0
    for _ in range(_POINTS * 4):
        point = {
            sympy.Symbol(name, real=True): sympy.Rational(rng.randint(1, 400), rng.randint(3, 40)) for name in names
        }
        value = sympy.N(difference.subs(point), _DIGITS)
        if value.is_real is not True or value.is_finite is not True:
            continue
        if abs(value) > _EQUAL:
            return False
        compared += 1
        if compared == _POINTS:
            return True
    raise NotSolved


@_settled
def solutions(one: Expression, other: Expression, name: str) -> frozenset[Fraction | str] | None:
    """Real solutions: fractions, else their first fourteen digits; None where every number is one. Raises NoValue."""
    symbol = sympy.Symbol(name, real=True)
    left, right = _sympy(one.node), _sympy(other.node)
    found = sympy.solveset(left - right, symbol, domain=sympy.S.Reals)
    if found is sympy.S.Reals:
        return None
    if not isinstance(found, sympy.FiniteSet) and found is not sympy.S.EmptySet:
        raise NotSolved
    kept = (root for root in found if _is_defined(left, symbol, root) and _is_defined(right, symbol, root))
    return frozenset(_named(root) for root in kept)


def _is_defined(side: Any, symbol: Any, root: Any) -> bool:
    return bool(sympy.N(side.subs(symbol, root), _DIGITS).is_finite)


def _named(root: Any) -> Fraction | str:
    if root.is_Rational:
        return Fraction(int(root.p), int(root.q))
    return f"{float(sympy.N(root, _DIGITS)):.13e}"


def _sympy(node: Node) -> Any:
    match node:
        case Number():
            return sympy.Rational(node.value.numerator, node.value.denominator)
        case Name():
            return sympy.Symbol(node.text, real=True)
        case Minus():
            return -_sympy(node.of)
        case Percent():
            return _sympy(node.of) / 100
        case Root():
            return sympy.sqrt(_sympy(node.of))
        case Operation():
            return _combined(node, _sympy(node.left), _sympy(node.right))


def _combined(node: Operation, left: Any, right: Any) -> Any:
    if node.sign == "+":
        return left + right
    if node.sign == "-":
        return left - right
    if node.sign == "*":
        return left * right
    if right.is_zero and node.sign == "/":
        raise NotSolved
    if node.sign == "/":
        return left / right
    if right.is_number and abs(right) > _LARGEST_POWER:  # before sympy multiplies it out
        raise NotSolved
    return left**right
