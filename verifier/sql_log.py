"""Reads the tables of a log in chunks, by key: what SQLite and PostgreSQL have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from verifier.events import COLUMNS, Event
from verifier.findings import Altered, printable
from verifier.reading import TABLES, Leaf, Unsealed

CHUNK = 2048  # rows; bounds the memory

EVENT_COLUMNS = ", ".join(f"e.{name}" for name in COLUMNS)


def obstructed(kind: str, name: str, table: str) -> Altered:
    """The product makes none of these."""
    shown = f"There is a {kind} {printable(name)} on {printable(table)}"
    return Altered(f"{shown}: it can keep events from being written or read, and the product did not make it.")


class SqlLog(ABC):
    """One snapshot of a database. A key that stands twice may be passed over here; `count` tells.

    Every query names the schema of its tables: which of two that bear one name is read is not the database's choice.
    """

    schema: str | None = None  # the one that is read, where a database has several
    elsewhere: tuple[str, ...] = ()  # other schemas with tables of the same names
    within: str  # what stands before a table's name in a query, with its dot

    @abstractmethod
    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """All rows of a query whose placeholders are question marks. Raises CannotRead."""

    @abstractmethod
    def close(self) -> None:
        """Ends the snapshot."""

    def leaves(self) -> Iterator[Leaf]:
        select = f"""SELECT l.leaf_index, l.event_id, l.hash, {EVENT_COLUMNS}
                     FROM {self.within}audit_leaves AS l
                     LEFT JOIN {self.within}audit_events AS e ON e.id = l.event_id"""
        for row in self.by_key(select, "l.leaf_index"):
            yield row[0], row[1], row[2], row[3:]

    def unsealed(self) -> Iterator[Unsealed]:
        select = f"""SELECT u.event_id, u.hash, {EVENT_COLUMNS}
                     FROM {self.within}audit_unsealed AS u
                     LEFT JOIN {self.within}audit_events AS e ON e.id = u.event_id"""
        for row in self.by_key(select, "u.event_id"):
            yield row[0], row[1], row[2:]

    def nodes(self, level: int) -> Iterator[tuple[Any, Any]]:
        select = f"SELECT n.position, n.hash FROM {self.within}audit_nodes AS n WHERE n.level = {level:d}"
        yield from self.by_key(select, "n.position")

    def checkpoints(self) -> Iterator[tuple[Any, Any]]:
        yield from self.by_key(f"SELECT c.tree_size, c.note FROM {self.within}audit_checkpoints AS c", "c.tree_size")

    def count(self, table: str) -> int:
        if table not in TABLES:
            raise ValueError(f"table: {table!r} is not one of {', '.join(TABLES)}.")
        return int(self.rows(f"SELECT count(*) FROM {self.scanned(table)}")[0][0])

    def scanned(self, table: str) -> str:
        """How a query names a table of which it reads every row."""
        return self.within + table

    def repeated(self) -> tuple[Any, Any] | None:
        leaves, unsealed = f"{self.within}audit_leaves", f"{self.within}audit_unsealed"
        twice = self.rows(f"SELECT event_id FROM {leaves} GROUP BY event_id HAVING count(*) > 1 LIMIT 1")
        if twice:
            return self.rows(f"SELECT max(leaf_index) FROM {leaves} WHERE event_id = ?", twice[0][0])[0][0], twice[0][0]
        both = f"{unsealed} AS u JOIN {leaves} AS l ON l.event_id = u.event_id"
        waiting = self.rows(f"SELECT l.leaf_index, l.event_id FROM {both} LIMIT 1")
        return (waiting[0][0], waiting[0][1]) if waiting else None

    def stray(self) -> Event | None:
        events = f"{self.within}audit_events"
        held = f"""SELECT 1 FROM {self.within}audit_leaves AS l WHERE l.event_id = e.id
                   UNION ALL SELECT 1 FROM {self.within}audit_unsealed AS u WHERE u.event_id = e.id"""
        twice = f"SELECT id FROM {events} GROUP BY id HAVING count(*) > 1"
        found = self._first_event(f"NOT EXISTS ({held})") or self._first_event(f"e.id IN ({twice})")
        return found[0] if found else None

    def _first_event(self, condition: str) -> list[Event]:
        return self.rows(f"SELECT {EVENT_COLUMNS} FROM {self.within}audit_events AS e WHERE {condition} LIMIT 1")

    def by_key(self, select: str, key: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, of which the first column is its key."""
        order, word = f"ORDER BY {key} LIMIT {CHUNK}", "AND" if " WHERE " in select else "WHERE"
        chunk = self.rows(f"{select} {order}")
        while chunk:
            yield from chunk
            if len(chunk) < CHUNK or chunk[-1][0] is None:
                return
            chunk = self.rows(f"{select} {word} {key} > ? {order}", chunk[-1][0])
