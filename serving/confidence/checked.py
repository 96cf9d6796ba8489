"""Reads fields of a calibration's body one by one, and names the field that is wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from serving.confidence.score import Points


class InvalidCalibration(ValueError):
    """A calibration's body cannot be used; the message names the field and says what is wrong."""


def mapping(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidCalibration(f"{place}: must be an object, not {_kind(value)}")
    return value


def listing(value: Any, place: str, *, shortest: int, longest: int) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidCalibration(f"{place}: must be a list, not {_kind(value)}")
    if not shortest <= len(value) <= longest:
        raise InvalidCalibration(f"{place}: must hold {shortest} to {longest} entries, not {len(value)}")
    return value


def text(fields: Mapping[str, Any], name: str, place: str = "") -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise InvalidCalibration(f"{at(place, name)}: must be a text of 1 to 200 characters, not {_kind(value)}")
    return value


def number(
    fields: Mapping[str, Any], name: str, place: str = "", *, lowest: float = -math.inf, highest: float = math.inf
) -> float:
    value = _finite(fields.get(name), at(place, name))
    if not lowest <= value <= highest:
        raise InvalidCalibration(f"{at(place, name)}: must lie from {lowest:g} to {highest:g}, not {value:g}")
    return value


def count(fields: Mapping[str, Any], name: str, place: str = "", *, highest: float = 1e12) -> int:
    value = number(fields, name, place, lowest=1.0, highest=highest)
    if value != int(value):
        raise InvalidCalibration(f"{at(place, name)}: must be a whole number, not {value:g}")
    return int(value)


def short(value: Any, place: str) -> str:
    """A name or a word; it may be empty."""
    if not isinstance(value, str) or len(value) > 100:
        raise InvalidCalibration(f"{place}: every name must be a text of at most 100 characters")
    return value


def row(value: Any, place: str, length: int) -> tuple[float, ...]:
    """So many finite numbers."""
    entries = listing(value, place, shortest=length, longest=length)
    return tuple(_finite(entry, f"{place}[{index}]") for index, entry in enumerate(entries))


def numbers(fields: Mapping[str, Any], name: str) -> dict[str, float]:
    """An object of finite numbers; empty where the field is left out."""
    values = mapping(fields.get(name, {}), name)
    if len(values) > 200:
        raise InvalidCalibration(f"{name}: must hold at most 200 numbers, not {len(values)}")
    return {str(key): _finite(value, f"{name}.{key}") for key, value in values.items()}


def points(value: Any, place: str, *, longest: int) -> Points:
    """[[x, y], …] with x strictly rising."""
    pairs = [
        listing(pair, f"{place}[{index}]", shortest=2, longest=2)
        for index, pair in enumerate(listing(value, place, shortest=1, longest=longest))
    ]
    found = tuple(
        (_finite(x, f"{place}[{index}][0]"), _finite(y, f"{place}[{index}][1]")) for index, (x, y) in enumerate(pairs)
    )
    if any(after[0] <= before[0] for before, after in pairwise(found)):
        raise InvalidCalibration(f"{place}: x must rise from point to point")
    return found


def _finite(value: Any, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidCalibration(f"{place}: must be a number, not {_kind(value)}")
    if abs(value) > 1e15 or not math.isfinite(value):
        raise InvalidCalibration(f"{place}: must be a finite number of a sensible size")
    return float(value)


def _kind(value: Any) -> str:
    return "missing" if value is None else f"a value of type {type(value).__name__}"


def at(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name
