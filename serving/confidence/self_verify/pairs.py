"""Two neighbours of a chain, and what their shape says beyond their values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from serving.confidence.self_verify.chains import Member
from serving.confidence.self_verify.expressions import Expression, Minus, Name, Node, Number, Operation, Percent, Root
from serving.confidence.self_verify.values import NoValue, Reading, evaluate


@dataclass(frozen=True, slots=True)
class Pair:
    """Both sides have been read."""

    left: Member
    relation: str
    right: Member
    one: Expression
    other: Expression
    first: bool  # nothing stands to the left of `left`

    @property
    def names(self) -> frozenset[str]:
        return self.one.names | self.other.names


def substitutes(pair: Pair, names: Mapping[str, Fraction]) -> bool:
    """Whether the right side is the left one with every name replaced by a number: `A - B = 3 - (-2)`."""
    return bool(pair.one.names) and not pair.other.names and _replaced(pair.one.node, pair.other.node)


def runs_on(pair: Pair, reading: Reading) -> bool:
    """`5 + 3 = 8 * 2 = 16`: the right side takes up what the left side comes to, and brings in a new number."""
    node: Node = pair.other.node
    while isinstance(node, Operation):
        node = node.left
    if node is pair.other.node or not isinstance(node, Number):
        return False
    brought = Counter(number.value for number in pair.other.numbers[1:])
    if not brought - Counter(number.value for number in pair.one.numbers):
        return False
    try:
        return evaluate(pair.one.node, reading) == node.value
    except NoValue:
        return False


def _replaced(left: Node, right: Node) -> bool:
    if isinstance(left, Name):
        while isinstance(right, Minus):
            right = right.of
        return isinstance(right, Number)
    match left, right:
        case Number(), Number():
            return left.value == right.value
        case Operation(), Operation():
            pairs = (left.left, right.left), (left.right, right.right)
            return left.sign == right.sign and all(_replaced(one, other) for one, other in pairs)
        case (Minus(of=one), Minus(of=other)) | (Percent(of=one), Percent(of=other)) | (Root(of=one), Root(of=other)):
            return _replaced(one, other)
        case _:
            return False
