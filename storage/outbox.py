"""Notes to be relayed outside, committed together with what they concern."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage.database import now
from storage.storable import from_json, to_json
from storage.tables import outbox

REVIEW_ENQUEUE = "review.enqueue"  # the item waits for a reviewer
REVIEW_REMOVE = "review.remove"  # it no longer does
REVIEW_TOPICS = (REVIEW_ENQUEUE, REVIEW_REMOVE)


@dataclass(frozen=True, slots=True)
class Note:
    id: int
    topic: str
    payload: dict[str, Any]
    created_at: float


def add(conn: Connection, topic: str, payload: dict[str, Any], at: float | None = None) -> None:
    """`at`: the database's clock, where the caller has just read it."""
    created_at = now(conn) if at is None else at
    conn.execute(outbox.insert(), {"topic": topic, "payload": to_json("payload", payload), "created_at": created_at})


def take(conn: Connection, limit: int, topics: Sequence[str] = REVIEW_TOPICS) -> list[Note]:
    """The oldest notes; on PostgreSQL they are locked until the transaction ends and others' locked ones skipped."""
    query = sa.select(outbox).where(outbox.c.topic.in_(topics)).order_by(outbox.c.id).limit(limit)
    if conn.dialect.name == "postgresql":
        query = query.with_for_update(skip_locked=True)
    return [Note(row.id, row.topic, from_json(row.payload), row.created_at) for row in conn.execute(query)]


def mark_done(conn: Connection, ids: Sequence[int]) -> None:
    if ids:
        conn.execute(outbox.delete().where(outbox.c.id.in_(ids)))
