"""Reads the fields of a config.json strictly; whatever is wrong is told with the field's name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serving.model.config import CheckpointError


class Fields:
    """A field that is null counts as absent. Methods raise ValueError for values that no model can have."""

    def __init__(self, data: Mapping[str, Any], directory: Path) -> None:
        self._data, self._directory = data, directory

    def get(self, *names: str) -> Any:
        """The first of `names` that is there, or None."""
        return next((self._data[name] for name in names if self._data.get(name) is not None), None)

    def below(self, *names: str) -> Fields:
        """The object in the first of these fields that is there; without fields if none is."""
        value = self.get(*names)
        if value is not None and not isinstance(value, dict):
            raise ValueError(f"{names[0]} must be an object, not {value!r}")
        return Fields(value or {}, self._directory)

    @property
    def has_objects(self) -> bool:
        """Whether any field is an object."""
        return any(isinstance(value, dict) for value in self._data.values())

    def count(self, *names: str, default: int | None = None, least: int = 1) -> int:
        value = self.get(*names)
        value = default if value is None else value
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            kind = "a positive integer" if least == 1 else f"an integer of at least {least}"
            raise ValueError(f"{names[0]} must be {kind}, not {value!r}")
        return value

    def number(self, name: str, default: float) -> float:
        """Positive and finite."""
        value = self.get(name)
        value = default if value is None else value
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
            raise ValueError(f"{name} must be a positive number, not {value!r}")
        return float(value)

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.get(name)
        value = default if value is None else value
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be true or false, not {value!r}")
        return value

    def counts(self, name: str) -> tuple[int, ...]:
        """One integer from 0 on or several; none if absent."""
        value = self.get(name)
        items = [] if value is None else value if isinstance(value, list) else [value]
        if any(not isinstance(item, int) or isinstance(item, bool) or item < 0 for item in items):
            raise ValueError(f"{name} must be integers, not {value!r}")
        return tuple(items)

    def refuse(self, foreign: Mapping[str, bool]) -> None:
        """Raises CheckpointError for the first field whose value is not served."""
        for field in (field for field, refused in foreign.items() if refused):
            raise CheckpointError(
                f"{self._directory}/config.json sets {field} to a value that is not served here: "
                "choose another checkpoint."
            )
