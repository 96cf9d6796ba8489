"""What a verification asks of a log, wherever it is kept; and a log kept in memory, for small ones and for tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from verifier.events import COLUMNS, Event

Leaf = tuple[Any, Any, Any, Event]  # leaf index, event id, hash; the event's columns, all None where there is no row
Unsealed = tuple[Any, Any, Event]  # event id, hash; the event's columns

NO_EVENT: Event = (None,) * len(COLUMNS)
TABLES = ("audit_events", "audit_leaves", "audit_unsealed", "audit_nodes", "audit_checkpoints")


class Reader(Protocol):
    """One snapshot of a log. Values come as the database has them, of whatever type; raises CannotRead."""

    def leaves(self) -> Iterator[Leaf]:
        """By leaf index, joined with audit_events by event id."""

    def unsealed(self) -> Iterator[Unsealed]:
        """Joined with audit_events by event id."""

    def nodes(self, level: int) -> Iterator[tuple[Any, Any]]:
        """(position, hash) of one level of audit_nodes, by position."""

    def checkpoints(self) -> Iterator[tuple[Any, Any]]:
        """(tree size, note), by size."""

    def count(self, table: str) -> int:
        """Rows of one of TABLES."""

    def repeated(self) -> tuple[Any, Any] | None:
        """(leaf index, event id) of an event that the tree holds twice, or that is unsealed as well."""

    def stray(self) -> Event | None:
        """A row of audit_events that is neither a leaf nor unsealed."""


@dataclass
class Tables:
    """The tables of a log as lists of rows."""

    audit_events: list[Event] = field(default_factory=list)
    audit_leaves: list[tuple[Any, Any, Any]] = field(default_factory=list)  # leaf index, event id, hash
    audit_unsealed: list[tuple[Any, Any]] = field(default_factory=list)  # event id, hash
    audit_nodes: list[tuple[Any, Any, Any]] = field(default_factory=list)  # level, position, hash
    audit_checkpoints: list[tuple[Any, Any]] = field(default_factory=list)  # tree size, note

    def leaves(self) -> Iterator[Leaf]:
        events = self._by_id()
        for index, event_id, hash_ in sorted(self.audit_leaves, key=lambda leaf: _order(leaf[0])):
            for event in events.get(event_id, [NO_EVENT]):
                yield index, event_id, hash_, event

    def unsealed(self) -> Iterator[Unsealed]:
        events = self._by_id()
        for event_id, hash_ in self.audit_unsealed:
            for event in events.get(event_id, [NO_EVENT]):
                yield event_id, hash_, event

    def nodes(self, level: int) -> Iterator[tuple[Any, Any]]:
        found = [node[1:] for node in self.audit_nodes if node[0] == level]
        yield from sorted(found, key=lambda node: _order(node[0]))

    def checkpoints(self) -> Iterator[tuple[Any, Any]]:
        yield from sorted(self.audit_checkpoints, key=lambda checkpoint: _order(checkpoint[0]))

    def count(self, table: str) -> int:
        return len(getattr(self, table))

    def repeated(self) -> tuple[Any, Any] | None:
        held = Counter(event_id for _, event_id, _ in self.audit_leaves)
        held.update(event_id for event_id, _ in self.audit_unsealed)
        twice = [(index, event_id) for index, event_id, _ in self.audit_leaves if held[event_id] > 1]
        return max(twice, key=lambda leaf: _order(leaf[0]), default=None)

    def stray(self) -> Event | None:
        held = {leaf[1] for leaf in self.audit_leaves} | {waiting[0] for waiting in self.audit_unsealed}
        return next((event for event in self.audit_events if event[0] not in held), None)

    def _by_id(self) -> dict[Any, list[Event]]:
        events: dict[Any, list[Event]] = {}
        for event in self.audit_events:
            if event[0] is not None:  # NULL equals nothing
                events.setdefault(event[0], []).append(event)
        return events


def _order(value: Any) -> tuple[bool, Any]:
    """Numbers first, as SQLite has it."""
    return (False, value) if isinstance(value, int | float) else (True, str(value))
