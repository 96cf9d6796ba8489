"""Finds audit events by any of their marks, newest first, in pages that stay complete while others are written."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage.audit_tables import audit_events
from storage.errors import NotFound
from storage.paging import decode_cursor, encode_cursor
from storage.records import AuditEvent
from storage.storable import from_json

_EQUAL = ("key_id", "model", "action", "reason", "reviewer", "verdict", "interaction_id", "item_id", "trace_id")


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
    min_confidence: float | None = None  # inclusive
    max_confidence: float | None = None  # inclusive
    interaction_id: str | None = None
    item_id: str | None = None
    trace_id: str | None = None


EVERYTHING = Filters()


def get_event(conn: Connection, event_id: str, tenant: str) -> AuditEvent:
    """Raises NotFound, also for another tenant's event."""
    query = sa.select(audit_events).where(audit_events.c.id == event_id, audit_events.c.tenant == tenant)
    row = conn.execute(query).one_or_none()
    if row is None:
        raise NotFound("audit event", event_id)
    return _event(row)


def query(
    conn: Connection, tenant: str, filters: Filters = EVERYTHING, *, after: str | None = None, limit: int = 50
) -> list[AuditEvent]:
    """Newest first; `after` is `cursor_of` the last event of the page before.

    Raises InvalidValue for a cursor that did not come from `cursor_of`.
    """
    table = audit_events.c
    select = sa.select(audit_events).where(table.tenant == tenant, *_conditions(filters))
    if after is not None:
        at, event_id = decode_cursor(after)
        select = select.where(sa.tuple_(table.at, table.id) < (at, event_id))
    rows = conn.execute(select.order_by(table.at.desc(), table.id.desc()).limit(limit))
    return [_event(row) for row in rows]


def cursor_of(event: AuditEvent) -> str:
    return encode_cursor(event.at, event.id)


def _conditions(filters: Filters) -> list[sa.ColumnElement[bool]]:
    table = audit_events.c
    ranges = (
        (filters.since, operator.ge, table.at),
        (filters.until, operator.lt, table.at),
        (filters.min_confidence, operator.ge, table.confidence),
        (filters.max_confidence, operator.le, table.confidence),
    )
    found = [bound(column, value) for value, bound, column in ranges if value is not None]
    equal = {name: getattr(filters, name) for name in _EQUAL}
    found += [table[name] == value for name, value in equal.items() if value is not None]
    if filters.kinds is not None:
        found.append(table.kind.in_(filters.kinds))
    return found


def _event(row: sa.Row[Any]) -> AuditEvent:
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
