"""Knows by which index a page of audit events is read: that of its rarest mark, and never more than so many events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage.audit_tables import FILTER_IDS, audit_events

LOOKED_AT = 10_000  # events a page: some 50 ms where each has to be fetched from memory, seconds from a busy disk
FIRST_LOOK, LOOKS_GROW = 500, 3  # so they are looked at in a few goes, each longer than the last
RARE = 1_000  # a mark with fewer events than this is read whole and sorted; looking for so many costs about 1 ms
FEW = 200  # interactions that have a text asked for: all their events are fetched
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
    conn: Connection,
    bounds: Conditions,
    equal: dict[str, str],
    kinds: Sequence[str],
    confidence: Conditions,
    interactions: Sequence[str] | None = None,
) -> tuple[Way, ...]:
    """By the rarest of the marks.

    `bounds`: tenant and time; `equal`: column and value; `kinds`: any of them, () for no matter; `interactions`: the
    few that have the text asked for, None where they are many, or no text is.
    """
    if interactions is not None:
        return (Way("ix_audit_events_interaction_id_at", "text", COLUMNS["interaction_id"].in_(interactions)),)
    if not equal and not kinds:
        return (_by_confidence(conn, bounds[:1], confidence),) if confidence else (Way(BY_TIME),)
    marks: list[tuple[Way, ...]] = [(_by_mark(name, value),) for name, value in equal.items()]
    if kinds:
        marks.append(tuple(_by_mark("kind", kind) for kind in dict.fromkeys(kinds)))
    if confidence and _is_rare(conn, [*bounds[:1], *confidence]):
        return (_of_confidence(confidence),)
    if len(marks) == 1:
        return marks[0]
    return min((_probed(conn, bounds, mark) for mark in marks), key=lambda mark: (mark.count, mark.oldest)).ways


@dataclass(frozen=True, slots=True)
class Look:
    """Reads events from one way, newest first, and keeps those that have the other marks too."""

    source: sa.FromClause | sa.TextClause
    lead: Conditions  # what the index is asked for
    others: Conditions
    looked_at: int  # events at most

    def select(self, columns: Sequence[sa.ColumnElement[Any]], limit: int) -> sa.Select[tuple[Any, ...]]:
        """The newest `limit` of them among the newest `looked_at` of the way."""
        if not self.others:
            return self._newest(columns).limit(limit)
        looked_at = self._newest(tuple(COLUMNS.values())).limit(self.looked_at).subquery()
        return sa.select(*columns).select_from(looked_at).where(*self.others).order_by(*NEWEST_FIRST).limit(limit)

    def end(self, conn: Connection) -> tuple[float, str] | None:
        """Time and id of the oldest event that was looked at; None when no older one could have been."""
        if not self.others:
            return None
        last = self._newest((COLUMNS["at"], COLUMNS["id"])).offset(self.looked_at - 1).limit(1)
        row = conn.execute(last).one_or_none()
        return None if row is None else (row.at, row.id)

    def _newest(self, columns: Sequence[sa.ColumnElement[Any]]) -> sa.Select[tuple[Any, ...]]:
        return sa.select(*columns).select_from(self.source).where(*self.lead).order_by(*NEWEST_FIRST)


def look(
    conn: Connection, way: Way, bounds: Conditions, marks: dict[str, sa.ColumnElement[bool]], looked_at: int
) -> Look:
    others = [mark for name, mark in marks.items() if name != way.mark]  # said twice, SQLite would sort what is sorted
    return Look(_source(conn, way.index), [*bounds, *_meant(way)], others, looked_at)


def _source(conn: Connection, index: str) -> sa.FromClause | sa.TextClause:
    """PostgreSQL knows how often values occur and finds the index itself."""
    return sa.text(f"audit_events INDEXED BY {index}") if conn.dialect.name == "sqlite" else audit_events


def _meant(way: Way) -> Conditions:
    return () if way.meant is None else (way.meant,)


def _by_mark(name: str, value: str) -> Way:
    index = f"ix_audit_events_{name}_at" if name in FILTER_IDS else f"ix_audit_events_tenant_{name}_at"
    return Way(index, name, COLUMNS[name] == value)


def _by_confidence(conn: Connection, tenant: Conditions, confidence: Conditions) -> Way:
    if _is_rare(conn, [*tenant, *confidence]):
        return _of_confidence(confidence)
    return Way(BY_TIME_SURE, "", COLUMNS["confidence"].is_not(None))


def _of_confidence(confidence: Conditions) -> Way:
    return Way(BY_CONFIDENCE, "confidence", sa.and_(*confidence))


def _is_rare(conn: Connection, conditions: Conditions) -> bool:
    some = sa.select(sa.literal(1)).select_from(_source(conn, BY_CONFIDENCE)).where(*conditions)
    count = sa.select(sa.func.count()).select_from(some.limit(RARE).subquery())
    return bool(conn.execute(count).scalar_one() < RARE)


def _probed(conn: Connection, bounds: Conditions, ways: tuple[Way, ...]) -> _Mark:
    count, oldest = 0, float("-inf")
    for way in ways:
        some = sa.select(COLUMNS["at"]).select_from(_source(conn, way.index))
        newest = some.where(*bounds, *_meant(way)).order_by(COLUMNS["at"].desc()).limit(RARE).subquery()
        found, last = conn.execute(sa.select(sa.func.count(), sa.func.min(newest.c.at))).one()
        count, oldest = count + found, max(oldest, last or float("-inf"))
    return _Mark(ways, min(count, RARE), oldest)
