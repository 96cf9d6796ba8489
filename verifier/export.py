"""Verifies an export in JSON lines: each event against its own hash, and that none stands twice or out of order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from verifier.events import COLUMNS, Event
from verifier.findings import Altered, CannotRead
from verifier.proof import beside, checked_leaf, copies_in, row_of
from verifier.strict_json import read_object

_MEMBERS = frozenset((*COLUMNS, "leaf_index"))
_MOST_NAMES = 100  # of unknown members; bounds the memory
LONGEST_LINE = 64 * 1024 * 1024  # bytes


@dataclass(frozen=True)
class Exported:
    """What an export without fault holds. It does not show that nothing was left out: the whole log does."""

    events: int
    unsealed: int  # events that had no place in the tree yet
    without_facts: int  # events that committed to private facts which the export does not hold
    first_at: float | None  # unix seconds
    last_at: float | None
    unproven: tuple[str, ...] = ()  # members beside the events', of which nothing is known here; only so many


def verify_export(lines: Iterable[bytes]) -> Exported:
    """Raises Altered naming the line, CannotRead where a line is no event. Needs the memory of one line."""
    events = unsealed = bare = 0
    first: Event | None = None
    before: Event | None = None
    rising: bool | None = None
    unknown: dict[str, None] = {}
    for number, line in enumerate(lines, 1):
        record = _read(line, number)
        row = _row(record, number)
        index = record.get("leaf_index")
        try:
            checked_leaf(row, index, copies_in(record))
        except Altered as found:
            found.why = f"Line {number}: {found.why}"
            raise
        rising = _in_order(before, row, rising, number)
        first, before = first or row, row
        events += 1
        unsealed += index is None
        if len(unknown) < _MOST_NAMES:
            unknown.update(dict.fromkeys(beside(record, _MEMBERS)[:_MOST_NAMES]))
        bare += row[10] is not None and row[13] is None
    times = (first[1] if first else None, before[1] if before else None)
    return Exported(events, unsealed, bare, *times, tuple(unknown))


def _read(line: bytes, number: int) -> dict[str, Any]:
    record = read_object(line, f"Line {number}", "an export")
    index = record.get("leaf_index")
    if index is not None and (type(index) is not int or index < 0):
        raise CannotRead(f"Line {number}: leaf_index is not a whole number.")
    return record


def _row(record: dict[str, Any], number: int) -> Event:
    try:
        return row_of(record)
    except CannotRead as error:
        raise CannotRead(f"Line {number}: {error}") from error


def _in_order(before: Event | None, row: Event, rising: bool | None, number: int) -> bool | None:
    """Exports go by time and id, one way or the other; the first two lines say which."""
    if before is None:
        return None
    last, this = (before[1], before[0]), (row[1], row[0])
    if last == this:
        raise Altered(f"Line {number}: this event stands here twice.", None, None, row[0], row[3], row[2], row[1])
    if rising is not None and rising != (this > last):
        why = f"Line {number}: this event is out of order by time and id: lines were moved or repeated."
        raise Altered(why, None, None, row[0], row[3], row[2], row[1])
    return this > last
