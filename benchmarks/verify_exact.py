"""A second, naive opinion on arithmetic equations: Python's own parser and fractions, sharing no code with serving.

For benchmark data that are known to be harmless; it bounds nothing.
"""

from __future__ import annotations

import ast
import operator
import re
from fractions import Fraction

_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
_FORMULA = re.compile(r"[\d\s+\-*/().]+")


def is_true(equation: str) -> bool | None:
    """Whether all sides of `a = b = c` that are numbers and signs alone are equal; None where fewer than two are."""
    values = [value for side in equation.split("=") if (value := _value(side)) is not None]
    return None if len(values) < 2 else len(set(values)) == 1


def _value(side: str) -> Fraction | None:
    if not _FORMULA.fullmatch(side):
        return None
    try:
        return _evaluate(ast.parse(_balanced(side.strip()), mode="eval").body)
    except (SyntaxError, ZeroDivisionError, KeyError):  # a KeyError for a sign that it does not know
        return None


def _balanced(side: str) -> str:
    """Without the brackets at either end that nothing answers to, as in `(A + B = 3`."""
    while side.count("(") > side.count(")") and side.startswith("("):
        side = side[1:]
    while side.count(")") > side.count("(") and side.endswith(")"):
        side = side[:-1]
    return side


def _evaluate(node: ast.expr) -> Fraction:
    if isinstance(node, ast.BinOp):
        value: Fraction = _OPERATORS[type(node.op)](_evaluate(node.left), _evaluate(node.right))
        return value
    if isinstance(node, ast.UnaryOp):
        return -_evaluate(node.operand) if isinstance(node.op, ast.USub) else _evaluate(node.operand)
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return Fraction(str(node.value))
    raise SyntaxError("no arithmetic")
