"""Every way in which a log is altered here: each alteration with the event that must be named for it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from benchmarks.forgeries import (
    COLUMNS_OF,
    Note,
    Row,
    Tampering,
    flipped,
    forged_notes,
    of_other_types,
    rewritten,
)
from verifier.events import COLUMNS
from verifier.reading import Tables

_ID, _AT, _KIND, _INTERACTION, _DATA, _SUBJECT, _HASH, _SALT, _SEALED = 0, 1, 3, 5, 8, 9, 11, 12, 13
_WHOLLY = 10_000  # bits: every one of a note


@dataclass(frozen=True)
class Tamperer:
    """Alters one honest log in every way; the same seed gives the same alterations."""

    tables: Tables
    outside: Sequence[Note]
    draw: random.Random
    bits_a_cell: int

    @cached_property
    def _ids(self) -> set[str]:
        return {event[_ID] for event in self.tables.audit_events}

    @cached_property
    def _purged(self) -> int:
        """So many leaves, from the first on, lost their events to a purge."""
        return next((index for index, event_id, _ in self.tables.audit_leaves if event_id in self._ids), 0)

    @cached_property
    def _purges(self) -> set[str]:
        return {event[_ID] for event in self.tables.audit_events if event[_KIND] == "audit.purged"}

    @cached_property
    def _places(self) -> dict[str, int]:
        return {event_id: index for index, event_id, _ in self.tables.audit_leaves}

    def all(self) -> Iterator[Tampering]:
        for way in (
            *(self.bits, self.bits_outside, self.removed, self.duplicated, self.exchanged, self.exchanged_cells),
            *(self.exchanged_leaves, self.reordered, self.truncated, self.bared, self.nulls, self.types),
            *(self.rewritten, self.resigned),
        ):
            yield from way()

    def bits(self) -> Iterator[Tampering]:
        """Single bits of every stored column of every row of every table."""
        for table, columns in COLUMNS_OF.items():
            for place, row in enumerate(getattr(self.tables, table)):
                for column, name in enumerate(columns):
                    if name == "event_id" and table == "audit_leaves" and row[0] < self._purged:
                        continue  # the id beside the hash of a purged event is all that nothing vouches for
                    for value in flipped(row[column], self._bits_of(table), self.draw):
                        if self.is_taken(table, name, value):
                            continue
                        changed = (*row[:column], value, *row[column + 1 :])
                        leaf, event_id = self.named(table, row, name, value)
                        what = f"a bit of {table}.{name}, row {place}"
                        yield self.altered(f"bit of {table}", what, table, {place: changed}, leaf, event_id)

    def bits_outside(self) -> Iterator[Tampering]:
        for place, (size, note) in enumerate(self.outside):
            for value in flipped(note, _WHOLLY, self.draw):
                kept = [*self.outside[:place], (size, value), *self.outside[place + 1 :]]
                yield Tampering("bit outside", f"a bit of note {place}", self.tables, kept)

    def removed(self) -> Iterator[Tampering]:
        for table in COLUMNS_OF:
            for place, row in enumerate(getattr(self.tables, table)):
                leaf, event_id = self.named(table, row, "id", None)
                yield self.altered(f"row of {table} removed", f"row {place}", table, {place: None}, leaf, event_id)
        for index, event_id, _ in self.tables.audit_leaves:
            events = [event for event in self.tables.audit_events if event[_ID] != event_id]
            leaves = [leaf for leaf in self.tables.audit_leaves if leaf[0] != index]
            tables = replace(self.tables, audit_events=events, audit_leaves=leaves)
            yield Tampering("event removed with its leaf", f"leaf {index}", tables, self.outside, index)
            renumbered = [(place, *leaf[1:]) for place, leaf in enumerate(leaves)]
            tables = replace(tables, audit_leaves=renumbered)
            yield Tampering("event removed, leaves renumbered", f"leaf {index}", tables, self.outside, index)

    def duplicated(self) -> Iterator[Tampering]:
        size = len(self.tables.audit_leaves)
        for row in self.tables.audit_events:
            twin = (f"{row[_ID]}x", *row[1:])
            events = [*self.tables.audit_events, twin]
            tables = replace(self.tables, audit_events=events)
            yield Tampering("duplicated", "beside the tree", tables, self.outside, None, twin[_ID])
            leaves = [*self.tables.audit_leaves, (size, twin[_ID], twin[_HASH])]
            tables = replace(tables, audit_leaves=leaves)
            yield Tampering("duplicated", "as a leaf of its own", tables, self.outside, size, twin[_ID])
            leaves = [*self.tables.audit_leaves, (size, row[_ID], row[_HASH])]
            tables = replace(self.tables, audit_leaves=leaves)
            yield Tampering("duplicated", "as a second leaf", tables, self.outside, size)

    def exchanged(self) -> Iterator[Tampering]:
        """Two rows keep their ids and exchange everything else."""
        for one, other in self._pairs(2500):
            a, b = self.tables.audit_events[one], self.tables.audit_events[other]
            rows = {one: (a[_ID], *b[1:]), other: (b[_ID], *a[1:])}
            leaf = min(self._leaf_of(a[_ID]), self._leaf_of(b[_ID]))
            yield self.altered("rows exchanged", f"{one} and {other}", "audit_events", rows, leaf)

    def exchanged_cells(self) -> Iterator[Tampering]:
        """Two rows exchange the values of one column."""
        for one, other in self._pairs(2500):
            a, b = self.tables.audit_events[one], self.tables.audit_events[other]
            column = self.draw.randrange(1, len(COLUMNS))
            if a[column] == b[column]:
                continue
            rows = {
                one: (*a[:column], b[column], *a[column + 1 :]),
                other: (*b[:column], a[column], *b[column + 1 :]),
            }
            leaf = min(self._leaf_of(a[_ID]), self._leaf_of(b[_ID]))
            yield self.altered("cells exchanged", f"{COLUMNS[column]} of {one} and {other}", "audit_events", rows, leaf)

    def exchanged_leaves(self) -> Iterator[Tampering]:
        size = len(self.tables.audit_leaves)
        for _ in range(500):
            one, other = sorted(self.draw.sample(range(self._purged, size), 2))
            a, b = self.tables.audit_leaves[one], self.tables.audit_leaves[other]
            for what, rows in (
                ("events and hashes", {one: (one, *b[1:]), other: (other, *a[1:])}),
                ("events", {one: (one, b[1], a[2]), other: (other, a[1], b[2])}),
                ("hashes", {one: (one, a[1], b[2]), other: (other, b[1], a[2])}),
            ):
                yield self.altered("leaves exchanged", f"{what} of {one}, {other}", "audit_leaves", rows, one)

    def reordered(self) -> Iterator[Tampering]:
        leaves = self.tables.audit_leaves
        for _ in range(500):
            start = self.draw.randrange(self._purged, len(leaves) - 3)
            end = self.draw.randrange(start + 3, min(len(leaves), start + 64) + 1)
            turned = [*leaves[start + 1 : end], leaves[start]]
            rows = {start + step: (start + step, *leaf[1:]) for step, leaf in enumerate(turned)}
            yield self.altered("order changed", f"leaves {start} to {end - 1}", "audit_leaves", rows, start)

    def truncated(self) -> Iterator[Tampering]:
        """At every point, together with the database's checkpoints and nodes; also with a checkpoint made anew."""
        for size in range(len(self.tables.audit_leaves)):
            leaves = self.tables.audit_leaves[:size]
            kept = {event_id for _, event_id, _ in leaves}
            tables = Tables(
                audit_events=[event for event in self.tables.audit_events if event[_ID] in kept],
                audit_leaves=leaves,
                audit_nodes=[node for node in self.tables.audit_nodes if (node[1] + 1) * 256 ** node[0] <= size],
                audit_checkpoints=[note for note in self.tables.audit_checkpoints if note[0] <= size],
            )
            yield Tampering("truncated", f"after {size} leaves", tables, self.outside, size)
            notes = [*tables.audit_checkpoints, (size, forged_notes(size, leaves, self.outside[0][1])[0])]
            if size not in (note[0] for note in tables.audit_checkpoints):
                tables = replace(tables, audit_checkpoints=notes)
                yield Tampering("truncated and signed anew", f"after {size} leaves", tables, self.outside)

    def bared(self) -> Iterator[Tampering]:
        """Private facts taken away that no erasure covers, in whole and by halves."""
        for place, row in enumerate(self.tables.audit_events):
            if row[_SALT] is None:
                continue
            for what, salt, sealed in (
                ("both", None, None),
                ("salt", None, row[_SEALED]),
                ("sealed", row[_SALT], None),
            ):
                if what == "both" and self._covered(row):
                    continue
                changed = (*row[:_SALT], salt, sealed, *row[_SEALED + 1 :])
                leaf, event_id = self.named("audit_events", row, "salt", None)
                what = f"{what}, row {place}"
                yield self.altered("private facts gone", what, "audit_events", {place: changed}, leaf, event_id)

    def nulls(self) -> Iterator[Tampering]:
        """NULL becomes the empty string, and the empty string or any other value NULL."""
        for place, row in enumerate(self.tables.audit_events):
            for column, name in enumerate(COLUMNS):
                if name in ("salt", "sealed") and row[column] is not None:
                    continue  # see `bared`
                values: tuple[Any, ...] = ("",) if row[column] is None else (None, "") if row[column] else (None,)
                for value in values:
                    changed = (*row[:column], value, *row[column + 1 :])
                    leaf, event_id = self.named("audit_events", row, name, value)
                    what = f"{name} of row {place} is {value!r}"
                    yield self.altered("NULL and empty", what, "audit_events", {place: changed}, leaf, event_id)

    def types(self) -> Iterator[Tampering]:
        """Numbers of another type, and text where a number was."""
        for table, columns in COLUMNS_OF.items():
            for place, row in enumerate(getattr(self.tables, table)):
                for column, name in enumerate(columns):
                    if not isinstance(row[column], int | float):
                        continue
                    for value in of_other_types(row[column]):
                        changed = (*row[:column], value, *row[column + 1 :])
                        leaf, event_id = self.named(table, row, name, row[column])
                        what = f"{table}.{name} of row {place} is {value!r}"
                        yield self.altered("types", what, table, {place: changed}, leaf, event_id)

    def rewritten(self) -> Iterator[Tampering]:
        """An event altered together with its hash, its leaf and the nodes: only checkpoints can tell."""
        for place, row in enumerate(self.tables.audit_events):
            leaf = self._leaf_of(row[_ID])
            if leaf >= 0:
                yield Tampering("rewritten", f"row {place}", rewritten(self.tables, place, leaf), self.outside, leaf)

    def resigned(self) -> Iterator[Tampering]:
        """Notes signed by another key, in the database, outside, and in both."""
        for place, (size, note) in enumerate(self.tables.audit_checkpoints):
            for forged in forged_notes(size, self.tables.audit_leaves[:size], note):
                inside = [*self.tables.audit_checkpoints]
                inside[place] = (size, forged)
                kept = [*self.outside]
                kept[place] = (size, forged)
                forgery = replace(self.tables, audit_checkpoints=inside)
                yield Tampering("signed anew", "inside", forgery, self.outside)
                yield Tampering("signed anew", "outside", self.tables, kept)
                yield Tampering("signed anew", "both", forgery, kept)

    def altered(
        self,
        kind: str,
        what: str,
        table: str,
        rows: Mapping[int, Row | None],
        leaf: int | None,
        event_id: str | None = None,
    ) -> Tampering:
        changed = list(getattr(self.tables, table))
        for place in sorted(rows, reverse=True):
            row = rows[place]
            changed[place : place + 1] = [] if row is None else [row]
        return Tampering(kind, what, replace(self.tables, **{table: changed}), self.outside, leaf, event_id)

    def named(self, table: str, row: Row, column: str, value: Any) -> tuple[int | None, str | None]:
        """Leaf, or event id, of the first event that is no longer as it was, when one value of a row changes.

        Without the event of a purge the first of the events that it removed is gone without a reason.
        """
        ids = {
            "audit_events": row[0] if column == "id" else None,
            "audit_leaves": row[1] if column == "event_id" else None,
        }
        if self._purged and ids.get(table) in self._purges:
            return 0, None
        if table == "audit_events":
            leaf = self._leaf_of(row[_ID])
            return (leaf, None) if leaf >= 0 else (None, row[_ID])
        if table == "audit_leaves":
            return (min(row[0], value) if column == "leaf_index" else row[0]), None
        return None, row[0] if table == "audit_unsealed" and column != "event_id" else None

    def is_taken(self, table: str, column: str, value: Any) -> bool:
        """Whether it is another event's id: no database holds two rows of one, and which to name would be open."""
        return table == "audit_events" and column == "id" and value in self._ids

    def _leaf_of(self, event_id: str) -> int:
        """-1 for an event that waits."""
        return self._places.get(event_id, -1)

    def _pairs(self, count: int) -> Iterator[tuple[int, int]]:
        sealed = [place for place, row in enumerate(self.tables.audit_events) if self._leaf_of(row[_ID]) >= 0]
        for _ in range(count):
            one, other = sorted(self.draw.sample(sealed, 2))
            yield one, other

    def _covered(self, row: Row) -> bool:
        """Whether an erasure or a deletion in the log says that this event's private facts may be gone."""
        for event in self.tables.audit_events:
            later = self._leaf_of(event[_ID]) > self._leaf_of(row[_ID]) or event[_AT] >= row[_AT]
            erased = event[_KIND] == "subject.erased" and json.loads(event[_DATA])["subject"] == row[_SUBJECT]
            deleted = event[_KIND] == "interaction.deleted" and event[_INTERACTION] == row[_INTERACTION]
            if later and (erased or deleted):
                return True
        return False

    def _bits_of(self, table: str) -> int:
        """The few small tables are altered in every bit."""
        return self.bits_a_cell if table in ("audit_events", "audit_leaves") else _WHOLLY
