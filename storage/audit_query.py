"""Finds audit events by any of their marks, newest first, in pages that stay complete while others are written."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage import audit_index, full_text
from storage.audit_tables import FILTER_IDS, FILTER_MARKS, audit_events
from storage.errors import NotFound
from storage.paging import decode_cursor, encode_cursor
from storage.records import AuditEvent
from storage.storable import from_json

SECONDS = 0.1  # that a page may take if it can
COLUMNS = audit_index.COLUMNS
_EQUAL = (*FILTER_MARKS, *FILTER_IDS)
_UNREAD = {"salt", "sealed", *FILTER_MARKS, "confidence"}
_READ = tuple(column for name, column in audit_index.COLUMNS.items() if name not in _UNREAD)


@dataclass(frozen=True, slots=True)
class Filters:
    """What events must have, all of it; None: no matter."""

    kinds: Sequence[str] | None = None
    since: float | None = None  # unix seconds, inclusive
    until: float | None = None  # exclusive
    key_id: str | None = None
    model: str | None = None
    action: str | None = None
    reason: str | None = None
    reviewer: str | None = None
    verdict: str | None = None
    tier: str | None = None
    min_confidence: float | None = None  # inclusive
    max_confidence: float | None = None  # inclusive
    interaction_id: str | None = None
    item_id: str | None = None
    trace_id: str | None = None
    text: str | None = None  # words that question and answer hold, all of them, where words are kept


@dataclass(frozen=True, slots=True)
class Page:
    """Events, newest first, and where the next page begins; None: this was the last."""

    events: list[AuditEvent]
    next: str | None


EVERYTHING = Filters()


def get_event(conn: Connection, event_id: str, tenant: str) -> AuditEvent:
    """Raises NotFound, also for another tenant's event."""
    query = sa.select(audit_events).where(audit_events.c.id == event_id, audit_events.c.tenant == tenant)
    row = conn.execute(query).one_or_none()
    if row is None:
        raise NotFound("audit event", event_id)
    return event_from(row)


def query(
    conn: Connection, tenant: str, filters: Filters = EVERYTHING, *, after: str | None = None, limit: int = 50
) -> list[AuditEvent]:
    """The newest `limit` events, as many pages as that takes; `after` as of `page`, or `cursor_of` an event."""
    found: list[AuditEvent] = []
    while True:
        got = page(conn, tenant, filters, after=after, limit=limit - len(found))
        found += got.events
        if got.next is None or len(found) >= limit:
            return found
        after = got.next


def page(
    conn: Connection, tenant: str, filters: Filters = EVERYTHING, *, after: str | None = None, limit: int = 50
) -> Page:
    """Newest first; `after` is `next` of the page before.

    A page looks at no more than audit_index.LOOKED_AT events by each value of its rarest mark, and begins no further
    look that would likely take it past SECONDS: where marks seldom meet, or the disk is slow, it holds fewer than
    `limit`, even none, and `next` leads on. Raises InvalidValue for a cursor that is none or a text without words.
    """
    if filters.kinds is not None and not filters.kinds:
        return Page([], None)
    events: list[AuditEvent] = []
    began, left, look = perf_counter(), audit_index.LOOKED_AT, audit_index.FIRST_LOOK
    while True:
        so_far = perf_counter() - began
        got = _look(conn, tenant, filters, after, limit - len(events), min(look, left))
        events, after, left = [*events, *got.events], got.next, left - look
        spent = perf_counter() - began
        further = spent + (spent - so_far) * audit_index.LOOKS_GROW  # when the next look would be over
        if after is None or len(events) >= limit or left <= 0 or further > SECONDS:
            return Page(events, after)
        look *= audit_index.LOOKS_GROW


def _look(conn: Connection, tenant: str, filters: Filters, after: str | None, limit: int, looked_at: int) -> Page:
    """What of a page is among the next `looked_at` events."""
    c, marks = audit_index.COLUMNS, _marks(filters)
    bounds = [c["tenant"] == tenant, *_times(filters, after)]
    asked = None if filters.text is None else full_text.asked_words(filters.text)
    if asked is not None:
        marks["text"] = sa.and_(*(full_text.holds(word, c["interaction_id"]) for word in asked))
    equal = {name: getattr(filters, name) for name in _EQUAL if name in marks}
    few = None if asked is None else full_text.few(conn, tenant, asked, audit_index.FEW)
    ways = audit_index.ways(conn, bounds, equal, filters.kinds or (), _confidences(filters), few)
    looks = [audit_index.look(conn, way, bounds, marks, looked_at) for way in ways]
    select = _merged([look.select(_READ, limit + 1) for look in looks])
    rows = conn.execute(select.order_by(None).order_by(*audit_index.NEWEST_FIRST).limit(limit + 1)).all()
    if len(looks) > 1 or len(rows) <= limit:
        floor = max((end for look in looks if (end := look.end(conn)) is not None), default=None)
        rows = [row for row in rows if floor is None or (row.at, row.id) >= floor]
        if len(rows) <= limit:
            return Page([event_from(row) for row in rows], None if floor is None else encode_cursor(*floor))
    events = [event_from(row) for row in rows[:limit]]
    return Page(events, cursor_of(events[-1]))


def cursor_of(event: AuditEvent) -> str:
    return encode_cursor(event.at, event.id)


def _marks(filters: Filters) -> dict[str, sa.ColumnElement[bool]]:
    c = audit_index.COLUMNS
    marks = {name: c[name] == value for name in _EQUAL if (value := getattr(filters, name)) is not None}
    if filters.kinds is not None:
        marks["kind"] = c["kind"].in_(filters.kinds)
    if confidences := _confidences(filters):
        marks["confidence"] = sa.and_(*confidences)
    return marks


def _merged(pages: Sequence[sa.Select[tuple[Any, ...]]]) -> sa.Select[tuple[Any, ...]]:
    if len(pages) == 1:
        return pages[0]
    return sa.select(*_READ).select_from(sa.union_all(*(sa.select(page.subquery()) for page in pages)).subquery())


def _times(filters: Filters, after: str | None) -> list[sa.ColumnElement[bool]]:
    """One upper bound, the stricter: an index is asked for one only, and given two it may be the other."""
    at, event_id = (math.inf, "") if after is None else decode_cursor(after)
    if filters.until is not None and filters.until <= at:
        return _within("at", (filters.since, operator.ge), (filters.until, operator.lt))
    times = _within("at", (filters.since, operator.ge))
    if after is None:
        return times
    # the first is what an index that ends with the time can be asked for
    return [*times, *_within("at", (at, operator.le)), sa.tuple_(COLUMNS["at"], COLUMNS["id"]) < (at, event_id)]


def _confidences(filters: Filters) -> list[sa.ColumnElement[bool]]:
    return _within("confidence", (filters.min_confidence, operator.ge), (filters.max_confidence, operator.le))


def _within(name: str, *ends: tuple[float | None, Callable[[Any, Any], Any]]) -> list[sa.ColumnElement[bool]]:
    return [is_within(audit_index.COLUMNS[name], end) for end, is_within in ends if end is not None]


def event_from(row: sa.Row[Any]) -> AuditEvent:
    """Of a row of audit_events; without private facts."""
    return AuditEvent(
        id=row.id,
        at=row.at,
        tenant=row.tenant,
        kind=row.kind,
        actor=row.actor,
        interaction_id=row.interaction_id,
        item_id=row.item_id,
        trace_id=row.trace_id,
        data=from_json(row.data),
        hash=row.hash,
        subject=row.subject,
        commitment=row.commitment,
    )
