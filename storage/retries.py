"""Knows which requests without an Idempotency-Key are one request that its client sent again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage.database import now
from storage.tables import interactions

Known = dict[tuple[str, str], list[tuple[float, int, str]]]


@dataclass(frozen=True, slots=True)
class Sent:
    """A request without an Idempotency-Key that is about to be recorded."""

    interaction_id: str
    key_id: str
    body_hash: str
    retry_count: int  # as the client counted
    seconds: float  # since it began, by a monotonic clock
    window: float  # seconds within which its first attempt was recorded, when it is a retry


def recorded(conn: Connection, key_id: str, body_hash: str, window: float) -> str | None:
    """The newest interaction that this key asked with this very body within `window` seconds."""
    table = interactions.c
    same = (table.key_id == key_id, table.body_hash == body_hash, table.deleted_at.is_(None))
    query = sa.select(table.id).where(*same, table.created_at >= now(conn) - window)
    return conn.execute(query.order_by(table.created_at.desc()).limit(1)).scalar()


def standing(conn: Connection, sent: Sequence[Sent]) -> dict[str, str]:
    """Which of these requests are one with another: interaction id → id of the interaction that stands in its place.

    A retry is one with the newest interaction of the same key and body within its window; a first attempt with a
    retry that was recorded after it began; within `sent`, a later with an earlier one. To be called once in the
    transaction that records them, as its locks (PostgreSQL) keep what it returned true until the commit.
    """
    if not sent:
        return {}
    _lock(conn, sent)
    at = now(conn)
    known = _known(conn, sent, at)
    stands: dict[str, str] = {}
    for one in sent:
        same = known.setdefault((one.key_id, one.body_hash), [])
        since = at - (one.window if one.retry_count else one.seconds)
        fits = [row for row in same if row[0] >= since and (one.retry_count or row[1])]
        if fits:
            stands[one.interaction_id] = max(fits)[2]
        else:
            same.append((at, one.retry_count, one.interaction_id))
    return stands


def _lock(conn: Connection, sent: Sequence[Sent]) -> None:
    """Only one transaction at a time looks for and records a request; SQLite has one writer anyway."""
    if conn.dialect.name != "postgresql":
        return
    numbers = sorted({_number(one) for one in sent})  # in one order everywhere: nobody waits in a circle
    conn.execute(
        sa.text("SELECT pg_advisory_xact_lock(n) FROM unnest(CAST(:numbers AS bigint[])) AS n"), {"numbers": numbers}
    )


def _number(sent: Sent) -> int:
    digest = hashlib.sha256(f"{sent.key_id} {sent.body_hash}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _known(conn: Connection, sent: Sequence[Sent], at: float) -> Known:
    """By key and body: (recorded at, retry count, id) of what may stand in place of one of `sent`."""
    known: Known = {}
    first = [one for one in sent if not one.retry_count]
    again = [one for one in sent if one.retry_count]
    table = interactions.c
    for group, marks, span in (
        (first, (table.retry_count > 0,), max((one.seconds for one in first), default=0)),
        (again, (), max((one.window for one in again), default=0)),
    ):
        if group:
            for row in conn.execute(_same(group, at - span, marks)):
                known.setdefault((row.key_id, row.body_hash), []).append((row.created_at, row.retry_count, row.id))
    return known


def _same(sent: Sequence[Sent], since: float, marks: tuple[sa.ColumnElement[bool], ...]) -> sa.Select[Any]:
    table = interactions.c
    pairs = sorted({(one.key_id, one.body_hash) for one in sent})
    return sa.select(table.id, table.key_id, table.body_hash, table.retry_count, table.created_at).where(
        sa.tuple_(table.key_id, table.body_hash).in_(pairs),
        table.created_at >= since,
        table.deleted_at.is_(None),
        *marks,
    )
