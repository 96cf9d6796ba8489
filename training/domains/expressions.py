"""Expressions in which precedence and brackets decide what comes first."""

import operator
import random
import re

from training.domains.phrasing import ask

# a..d are small factors, w..z are numbers whose size grows with difficulty.
_SHAPES = {
    1: ("w + a * b", "a * b + w", "(a + b) * c", "a * b - c"),
    2: ("w + a * b", "w - a * b", "(w + x) * a", "a * (b + c) + w", "a * b + c * d"),
    3: ("w + a * x", "(w - x) * a", "a * w + b * x", "w - x + a * b", "(w + a) * (b + c)"),
    4: ("w * a - x * b + y", "(w + x) * a - y", "w + a * (x - y)", "a * (w + x) + b * y"),
    5: ("(w + x) * a - y * b", "w * a + x * b - y * c", "(w - x) * (a + b) + y * c"),
}
_LARGEST = {1: 10, 2: 30, 3: 60, 4: 200, 5: 900}
_OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
_BRACKET = re.compile(r"\((-?\d+) ([+-]) (-?\d+)\)")
_PRODUCT = re.compile(r"(-?\d+) (\*) (-?\d+)")
_CHAIN = re.compile(r"^(-?\d+) ([+-]) (-?\d+)")


def write(rng: random.Random, difficulty: int) -> tuple[str, list[str], int]:
    """One expression, reduced bracket by bracket, then products, then from left to right."""
    expression = re.sub(
        "[a-dw-z]",
        lambda letter: str(rng.randint(2, 9 if letter[0] in "abcd" else _LARGEST[difficulty])),
        rng.choice(_SHAPES[difficulty]),
    )
    steps, answer = reduce(expression)
    return ask(rng, expression), steps, answer


def reduce(expression: str) -> tuple[list[str], int]:
    """Solve an expression of integers one operation at a time."""
    steps = []
    while match := next((m for p in (_BRACKET, _PRODUCT, _CHAIN) if (m := p.search(expression))), None):
        left, sign, right = match.groups()
        value = _OPERATORS[sign](int(left), int(right))
        steps.append(f"{left} {sign} {right} = {value}")
        expression = expression[: match.start()] + str(value) + expression[match.end() :]
    return steps, int(expression)
