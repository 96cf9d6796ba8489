"""Reads one side of an equation into a small tree; anything longer, deeper or stranger than allowed is not read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, TypeAlias

from serving.confidence.self_verify import limits
from serving.confidence.self_verify.tokens import Token

Sign = Literal["+", "-", "*", "/", "^"]


@dataclass(frozen=True, slots=True)
class Number:
    value: Fraction
    places: int  # decimals as written
    index: int  # its place among the numbers of the expression


@dataclass(frozen=True, slots=True)
class Name:
    text: str


@dataclass(frozen=True, slots=True)
class Minus:
    of: Node


@dataclass(frozen=True, slots=True)
class Percent:
    of: Node


@dataclass(frozen=True, slots=True)
class Root:
    of: Node


@dataclass(frozen=True, slots=True)
class Operation:
    sign: Sign
    left: Node
    right: Node


Node: TypeAlias = Number | Name | Minus | Percent | Root | Operation


@dataclass(frozen=True, slots=True)
class Expression:
    node: Node
    numbers: tuple[Number, ...]
    names: frozenset[str]
    ambiguous: bool  # people read it in more than one way: 1/2x, 6 (2 + 1)
    percent: bool  # a percent sign stands in it

    @property
    def literal(self) -> Number | None:
        """The number that it is as a whole, sign and percent sign aside; the decimals of 0.5 % are those of 0.005."""
        node, further = self.node, 0
        while isinstance(node, Minus | Percent):
            further += 2 * isinstance(node, Percent)
            node = node.of
        if not isinstance(node, Number):
            return None
        return replace(node, places=node.places + further) if node.places else node


class Unreadable(Exception):
    """It is no expression, or one beyond the limits; the message says which."""


def parse(tokens: Sequence[Token]) -> Expression:
    """Raises Unreadable. Recursion is bounded by limits.DEPTH, work by limits.MEMBER_TOKENS."""
    if len(tokens) > limits.MEMBER_TOKENS:
        raise Unreadable("It is too long to be checked.")
    return _Parser(tokens).expression()


class _Parser:
    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens, self._at, self._depth = [t for t in tokens if t.kind != "unit"], 0, 0
        self._numbers: list[Number] = []
        self._names: set[str] = set()
        self._ambiguous = self._percent = False

    def expression(self) -> Expression:
        node = self._sum()
        if self._at < len(self._tokens):
            raise Unreadable("It is no plain formula.")
        return Expression(node, tuple(self._numbers), frozenset(self._names), self._ambiguous, self._percent)

    def _sum(self) -> Node:
        self._deeper()
        node = self._product()
        while sign := self._taken("+", "-"):
            node = Operation(sign, node, self._product())
        self._depth -= 1
        return node

    def _product(self) -> Node:
        node, loosely_divided = self._signed(), False
        while True:
            loose = self._is_loose()
            if self._taken_of():
                self._ambiguous = True  # `1/3 of 60` within a longer formula
                node = Operation("*", node, self._signed())
            elif sign := self._taken("*", "/"):
                self._ambiguous = self._ambiguous or (loosely_divided and not loose)  # 28 / 1/5
                node, loosely_divided = Operation(sign, node, self._signed()), sign == "/" and loose
            elif self._goes_on_without_sign():
                after_division = isinstance(node, Operation) and node.sign == "/"  # 1/2x
                self._ambiguous = self._ambiguous or after_division or self._tokens[self._at].spaced
                node = Operation("*", node, self._power())
            else:
                return node

    def _is_loose(self) -> bool:
        return any(token.spaced for token in self._tokens[self._at : self._at + 2])

    def _taken_of(self) -> bool:
        taken = self._kind() == "sign" and self._tokens[self._at].text == "of"
        self._at += taken
        return taken

    def _goes_on_without_sign(self) -> bool:
        """`2x`, `3(4 + 5)`, `(a)(b)`; never a number after anything but a bracket."""
        if self._at >= len(self._tokens):
            return False
        token = self._tokens[self._at]
        return token.kind in ("open", "name", "root", "fraction") or (
            token.kind == "number" and self._tokens[self._at - 1].kind == "close" and not token.spaced
        )

    def _signed(self) -> Node:
        self._deeper()
        sign = self._taken("+", "-")
        node = self._signed() if sign else self._power()
        self._depth -= 1
        return Minus(node) if sign == "-" else node

    def _power(self) -> Node:
        base = self._atom()
        while self._kind() == "percent":
            self._at += 1
            base, self._percent = Percent(base), True
        return Operation("^", base, self._signed()) if self._taken("^") else base

    def _atom(self) -> Node:
        if self._at >= len(self._tokens):
            raise Unreadable("It ends too early.")
        token = self._tokens[self._at]
        self._at += 1
        if token.kind == "number":
            return self._mixed(self._number(token))
        if token.kind == "name":
            self._names.add(token.text)
            return Name(token.text)
        if token.kind == "open":
            self._at -= 1
            return self._bracket()
        if token.kind == "root":
            if self._at < len(self._tokens) and self._tokens[self._at].text == "[":
                raise Unreadable("It is a root other than the square root.")
            return Root(self._atom())
        if token.kind == "fraction":
            return Operation("/", self._bracket(), self._bracket())
        raise Unreadable("It is no plain formula.")

    def _bracket(self) -> Node:
        if self._kind() != "open":
            raise Unreadable("A bracket is missing.")
        self._at += 1
        node = self._sum()
        if self._kind() != "close":
            raise Unreadable("A bracket is not closed.")
        self._at += 1
        return node

    def _number(self, token: Token) -> Number:
        if len(token.text) > limits.DIGITS:
            raise Unreadable("A number is too long to be checked.")
        places = len(token.text.partition(".")[2])
        number = Number(Fraction(token.text.replace(",", "")), places, len(self._numbers))
        self._numbers.append(number)
        return number

    def _mixed(self, whole: Number) -> Node:
        """`2 1/2` is two and a half."""
        ahead = self._tokens[self._at : self._at + 3]
        if [t.kind for t in ahead] != ["number", "sign", "number"] or ahead[1].text != "/" or ahead[1].spaced:
            return whole
        self._at += 3
        part = Operation("/", self._number(ahead[0]), self._number(ahead[2]))
        return Operation("+", whole, part)

    def _taken(self, *signs: Sign) -> Sign | None:
        if self._kind() == "sign":
            for sign in signs:
                if self._tokens[self._at].text == sign:
                    self._at += 1
                    return sign
        return None

    def _kind(self) -> str | None:
        return self._tokens[self._at].kind if self._at < len(self._tokens) else None

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > limits.DEPTH:
            raise Unreadable("It is nested too deeply to be checked.")


def parts(node: Node) -> Iterator[Node]:
    """The node and all below it; at most as deep as an expression is long."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, Operation):
            waiting += [node.right, node.left]
        elif isinstance(node, Minus | Percent | Root):
            waiting.append(node.of)
