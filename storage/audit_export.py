"""Reads audit events exactly as they are stored, page by page, for exports that others can verify."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage import audit_query
from storage.audit_query import Filters
from storage.audit_tables import audit_events, audit_leaves
from storage.records import AuditEvent

Row = dict[str, Any]
NUMBERS = ("at", "confidence")
COLUMNS = (
    "id", "at", "tenant", "kind", "actor", "interaction_id", "item_id", "trace_id", "data", "hash", "subject",
    "commitment", "salt", "sealed", "leaf_index", "key_id", "model", "action", "reason", "reviewer", "verdict",
    "tier", "confidence",
)  # fmt: skip


def page(
    conn: Connection, tenant: str, filters: Filters, *, after: str | None = None, limit: int = 1_000
) -> tuple[list[Row], str | None]:
    """Up to `limit` events by (at, id), newest first, and the cursor of the next page; None: this was the last.

    A page may be short, or empty, and yet not the last: audit_query says when.

    A row has COLUMNS: the stored ones, `data` as its text, and the event's place in the tree, None until it is sealed.
    """
    found = audit_query.page(conn, tenant, filters, after=after, limit=limit)
    return stored(conn, found.events), found.next


def stored(conn: Connection, events: Sequence[AuditEvent]) -> list[Row]:
    """The rows of these events, in their order; one that was purged meanwhile is left out."""
    if not events:
        return []
    table, times = audit_events.c, [event.at for event in events]
    own = (column for column in table if column.name in COLUMNS)
    query = sa.select(*own, audit_leaves.c.leaf_index).join_from(
        audit_events, audit_leaves, audit_leaves.c.event_id == table.id, isouter=True
    )
    within = table.at.between(min(times), max(times))  # spares PostgreSQL the other months
    found = conn.execute(query.where(within, table.id.in_([event.id for event in events])))
    rows = {row["id"]: {name: row[name] for name in COLUMNS} for row in found.mappings()}
    return [rows[event.id] for event in events if event.id in rows]


def leaf_indexes(conn: Connection, events: Sequence[AuditEvent]) -> dict[str, int]:
    """The places in the tree of those events that are sealed, by event id."""
    table = audit_leaves.c
    query = sa.select(table.event_id, table.leaf_index).where(table.event_id.in_([event.id for event in events]))
    return {row.event_id: row.leaf_index for row in conn.execute(query)}
