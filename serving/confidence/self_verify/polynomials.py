"""Turns expressions in one name into polynomials and solves them where their solutions are fractions."""

from __future__ import annotations

from fractions import Fraction
from math import isqrt

from serving.confidence.self_verify import limits
from serving.confidence.self_verify.expressions import Minus, Name, Node, Number, Operation, Percent, Root
from serving.confidence.self_verify.values import Budget, NoValue

Polynomial = tuple[Fraction, ...]  # coefficients, the constant one first


class NoPolynomial(NoValue):
    def __init__(self) -> None:
        super().__init__("It is no polynomial that can be solved here.")


def polynomial(node: Node, budget: Budget) -> Polynomial:
    """Raises NoValue. All names count as the same one."""
    budget.spend()
    match node:
        case Number():
            return (node.value,)
        case Name():
            return (Fraction(0), Fraction(1))
        case Minus():
            return tuple(-factor for factor in polynomial(node.of, budget))
        case Percent():
            return tuple(factor / 100 for factor in polynomial(node.of, budget))
        case Root():
            raise NoPolynomial
        case Operation():
            return _combined(node, polynomial(node.left, budget), polynomial(node.right, budget), budget)


def solve(left: Polynomial, right: Polynomial) -> frozenset[Fraction] | None:
    """The real solutions of left = right; None: every number is one. Raises NoValue where they are no fractions."""
    factors = _trimmed(_sum(left, tuple(-factor for factor in right)))
    if len(factors) == 1:
        return None if factors[0] == 0 else frozenset()
    if len(factors) == 2:
        return frozenset({-factors[0] / factors[1]})
    if len(factors) > 3:
        raise NoPolynomial
    c, b, a = factors
    under = b * b - 4 * a * c
    if under < 0:
        return frozenset()
    top, bottom = isqrt(under.numerator), isqrt(under.denominator)
    if top * top != under.numerator or bottom * bottom != under.denominator:
        raise NoPolynomial
    root = Fraction(top, bottom)
    return frozenset({(-b + root) / (2 * a), (-b - root) / (2 * a)})


def _combined(node: Operation, left: Polynomial, right: Polynomial, budget: Budget) -> Polynomial:
    if node.sign == "+":
        return _sum(left, right)
    if node.sign == "-":
        return _sum(left, tuple(-factor for factor in right))
    if node.sign == "*":
        return _product(left, right, budget)
    constant = _trimmed(right)
    if len(constant) != 1 or constant[0] == 0:
        raise NoPolynomial
    if node.sign == "/":
        return tuple(factor / constant[0] for factor in left)
    power = constant[0]
    if power.denominator != 1 or not 0 <= power <= limits.DEGREE:
        raise NoPolynomial
    raised: Polynomial = (Fraction(1),)
    for _ in range(int(power)):
        raised = _product(raised, left, budget)
    return raised


def _sum(left: Polynomial, right: Polynomial) -> Polynomial:
    size = max(len(left), len(right))
    padded = (side + (Fraction(0),) * (size - len(side)) for side in (left, right))
    return _bounded(tuple(one + other for one, other in zip(*padded, strict=True)))


def _product(left: Polynomial, right: Polynomial, budget: Budget) -> Polynomial:
    left, right = _trimmed(left), _trimmed(right)
    if len(left) + len(right) - 2 > limits.DEGREE:
        raise NoPolynomial
    factors = [Fraction(0)] * (len(left) + len(right) - 1)
    for i, one in enumerate(left):
        for j, other in enumerate(right):
            budget.spend()
            factors[i + j] += one * other
    return _bounded(tuple(factors))


def _bounded(factors: Polynomial) -> Polynomial:
    if any(max(f.numerator.bit_length(), f.denominator.bit_length()) > limits.BITS for f in factors):
        raise NoPolynomial
    return factors


def _trimmed(factors: Polynomial) -> Polynomial:
    size = len(factors)
    while size > 1 and factors[size - 1] == 0:
        size -= 1
    return factors[:size]
