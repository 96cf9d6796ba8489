"""What a verification can end with besides peace: something was altered, or something cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any


class CannotRead(Exception):
    """The log, the key, or a file could not be read at all; the message says what to do."""


@dataclass(eq=False)
class Altered(Exception):
    """The first thing found that is not as it was sealed. `str()` is one sentence."""

    why: str  # one sentence
    leaf_index: int | None = None  # place in the tree of the first bad event
    last_leaf: int | None = None  # where only a range can be named: its last leaf
    event_id: str | None = None
    kind: str | None = None
    tenant: str | None = None
    at: float | None = None  # unix seconds
    unsettled: str | None = None  # what else was open when the verification stopped here

    def __str__(self) -> str:
        return self.why

    def as_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}

    @property
    def named(self) -> list[tuple[str, str]]:
        """What is known of the event, for people: name and value."""
        leaf = str(self.leaf_index) if self.leaf_index is not None else ""
        if self.last_leaf is not None and self.last_leaf != self.leaf_index:
            leaf = f"one of {self.leaf_index} to {self.last_leaf}"
        known = {
            "leaf": leaf,
            "event": printable(self.event_id or ""),
            "kind": printable(self.kind or ""),
            "tenant": printable(self.tenant or ""),
            "time": moment(self.at),
        }
        return [(name, value) for name, value in known.items() if value]


def printable(text: str) -> str:
    """What a terminal shows without being told anything by it: control and format characters are escaped."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    return shown if len(shown) <= 120 else f"{shown[:117]}..."


def listed(names: Sequence[str], most: int = 8) -> str:
    """Some names for people, as they may be printed."""
    shown = ", ".join(printable(name) for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def moment(at: float | None) -> str:
    """Unix seconds in UTC, or nothing where no calendar has such a day."""
    if at is None:
        return ""
    try:
        return datetime.fromtimestamp(at, UTC).isoformat(" ", "milliseconds").replace("+00:00", " UTC")
    except (ValueError, OverflowError, OSError):
        return ""
