"""Reads the gateway's numbers: what is missing stays missing, and what is no number is a fault."""

from __future__ import annotations

import math
from typing import Any


def number(value: Any) -> float | None:
    """None for null and for what is not finite. Raises TypeError for what is no number at all."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"a number was expected, not {type(value).__name__}")
    return float(value) if math.isfinite(value) else None


def whole(value: Any) -> int:
    """A count; 0 where it is missing."""
    found = number(value)
    return 0 if found is None else round(found)


def complete(rows: Any, *names: str) -> list[tuple[float, ...]]:
    """The named numbers of each row, in that order; rows in which one is missing are left out."""
    found = [tuple(number(row[name]) for name in names) for row in rows or ()]
    return [tuple(value for value in row if value is not None) for row in found if None not in row]


def percent(value: float | None, digits: int = 0) -> str:
    """ "2.4 %"; "unknown" where it is missing."""
    return "unknown" if value is None else f"{value * 100:.{digits}f} %"
