"""Takes the tensors out of nested dataclasses, in a fixed order, and puts others into their places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from torch import Tensor

_Held = TypeVar("_Held")


def tensors_of(held: Any) -> list[Tensor]:
    """Depth first, in the order of the fields; what is no tensor and holds none is passed over."""
    if isinstance(held, Tensor):
        return [held]
    if not is_dataclass(held):
        return []
    return [tensor for field in fields(held) for tensor in tensors_of(getattr(held, field.name))]


def with_tensors(held: _Held, tensors: Iterator[Tensor]) -> _Held:
    """The same again with the next of `tensors` in each tensor's place."""
    if isinstance(held, Tensor):
        return next(tensors)  # type: ignore[return-value]
    if not is_dataclass(held):
        return held
    changed = {field.name: with_tensors(getattr(held, field.name), tensors) for field in fields(held)}
    return replace(held, **changed)  # type: ignore[type-var]
