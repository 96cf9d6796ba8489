"""Tells SQLite, which knows nothing of how often a value occurs, by which index a page of audit events is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage.audit_tables import FILTER_IDS, audit_events

RARE = 1_000  # a mark with fewer events than this is read whole and sorted; looking for so many costs about 1 ms
COLUMNS = {column.name: sa.column(column.name, column.type) for column in audit_events.columns}
BY_TIME = "ix_audit_events_tenant_at_id"
BY_TIME_SURE = "ix_audit_events_tenant_at_id_confidence"  # of the events that have a confidence
BY_CONFIDENCE = "ix_audit_events_tenant_confidence_at"
NEWEST_FIRST = (COLUMNS["at"].desc(), COLUMNS["id"].desc())

Conditions = Sequence[sa.ColumnElement[bool]]


@dataclass(frozen=True, slots=True)
class Way:
    """An index, and which of its events are meant; a page is read from one way or merged from several."""

    index: str
    mark: str = ""  # the column whose value `meant` says; "" for all that the index holds
    meant: sa.ColumnElement[bool] | None = None


@dataclass(frozen=True, slots=True)
class _Mark:
    ways: tuple[Way, ...]
    count: int  # events, at most RARE
    oldest: float  # of the newest RARE; the older, the rarer the mark


def ways(
    conn: Connection, bounds: Conditions, equal: dict[str, str], kinds: Sequence[str], confidence: Conditions
) -> tuple[Way, ...]:
    """By the rarest of the marks.

    `bounds`: tenant and time; `equal`: column and value; `kinds`: any of them, () for no matter.
    """
    if not equal and not kinds:
        return (_by_confidence(conn, bounds[:1], confidence),) if confidence else (Way(BY_TIME),)
    marks: list[tuple[Way, ...]] = [(_by_mark(name, value),) for name, value in equal.items()]
    if kinds:
        marks.append(tuple(_by_mark("kind", kind) for kind in dict.fromkeys(kinds)))
    if confidence and _is_rare(conn, BY_CONFIDENCE, [*bounds[:1], *confidence]):
        return (Way(BY_CONFIDENCE),)
    if len(marks) == 1:
        return marks[0]
    return min((_probed(conn, bounds, mark) for mark in marks), key=lambda mark: (mark.count, mark.oldest)).ways


def select(
    columns: Sequence[sa.ColumnElement[Any]],
    way: Way,
    bounds: Conditions,
    marks: dict[str, sa.ColumnElement[bool]],
    limit: int,
) -> sa.Select[tuple[Any, ...]]:
    """The newest `limit` events of one way that have all of the marks."""
    others = [mark for name, mark in marks.items() if name != way.mark]  # said twice, SQLite would sort what is sorted
    table = sa.text(f"audit_events INDEXED BY {way.index}")
    return (
        sa.select(*columns)
        .select_from(table)
        .where(*bounds, *others, *_meant(way))
        .order_by(*NEWEST_FIRST)
        .limit(limit)
    )


def _meant(way: Way) -> Conditions:
    return () if way.meant is None else (way.meant,)


def _by_mark(name: str, value: str) -> Way:
    index = f"ix_audit_events_{name}_at" if name in FILTER_IDS else f"ix_audit_events_tenant_{name}_at"
    return Way(index, name, COLUMNS[name] == value)


def _by_confidence(conn: Connection, tenant: Conditions, confidence: Conditions) -> Way:
    return Way(BY_CONFIDENCE if _is_rare(conn, BY_CONFIDENCE, [*tenant, *confidence]) else BY_TIME_SURE)


def _is_rare(conn: Connection, index: str, conditions: Conditions) -> bool:
    some = sa.select(sa.literal(1)).select_from(sa.text(f"audit_events INDEXED BY {index}")).where(*conditions)
    count = sa.select(sa.func.count()).select_from(some.limit(RARE).subquery())
    return bool(conn.execute(count).scalar_one() < RARE)


def _probed(conn: Connection, bounds: Conditions, ways: tuple[Way, ...]) -> _Mark:
    count, oldest = 0, float("-inf")
    for way in ways:
        some = sa.select(COLUMNS["at"]).select_from(sa.text(f"audit_events INDEXED BY {way.index}"))
        newest = some.where(*bounds, *_meant(way)).order_by(COLUMNS["at"].desc()).limit(RARE).subquery()
        found, last = conn.execute(sa.select(sa.func.count(), sa.func.min(newest.c.at))).one()
        count, oldest = count + found, max(oldest, last or float("-inf"))
    return _Mark(ways, min(count, RARE), oldest)
