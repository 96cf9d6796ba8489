"""Ends what nobody ends: answers past their deadline, and claims whose lease ran out."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from storage.database import now
from storage.records import OPEN_STATES, ItemState, ReviewItem
from storage.review_moves import move
from storage.rows import item_from
from storage.tables import review_items

MAX_LAPSES = 5  # then the item itself is suspected of breaking its reviewers' screens
_WORKER = "worker"


def expire_due(conn: Connection, limit: int = 100) -> list[ReviewItem]:
    """Withholds the answers that nobody decided in time, also those being looked at."""
    at = now(conn)
    open_states = [state.value for state in OPEN_STATES]
    due = _locked(conn, review_items.c.state.in_(open_states), review_items.c.expires_at <= at, limit=limit)
    return [
        move(conn, item, ItemState.EXPIRED, "review.expired", _WORKER, changes={"decided_at": at}) for item, _ in due
    ]


def return_lapsed_claims(conn: Connection, limit: int = 100, max_lapses: int = MAX_LAPSES) -> list[ReviewItem]:
    """Puts items whose lease ran out back into the queue; those that lapsed `max_lapses` times are quarantined."""
    state_is_claimed = review_items.c.state == ItemState.CLAIMED.value
    lapsed = _locked(conn, state_is_claimed, review_items.c.claim_expires_at <= now(conn), limit=limit)
    return [return_lapsed(conn, item, lapses, max_lapses) for item, lapses in lapsed]


def return_lapsed(conn: Connection, item: ReviewItem, lapses: int, max_lapses: int = MAX_LAPSES) -> ReviewItem:
    """One item whose lease ran out, for the `lapses + 1`-th time."""
    changes: dict[str, float | int] = {"lapses": lapses + 1}
    data = {"reviewer": item.claimed_by, "lapses": lapses + 1}
    if lapses + 1 < max_lapses:
        return move(conn, item, ItemState.PENDING, "review.claim_lapsed", _WORKER, changes=changes, data=data)
    changes["decided_at"] = now(conn)
    return move(conn, item, ItemState.QUARANTINED, "review.quarantined", _WORKER, changes=changes, data=data)


def _locked(conn: Connection, *conditions: sa.ColumnElement[bool], limit: int) -> list[tuple[ReviewItem, int]]:
    """Items with how often they lapsed; on PostgreSQL those that someone moves right now are left for the next time."""
    query = sa.select(review_items).where(*conditions).order_by(review_items.c.expires_at).limit(limit)
    if conn.dialect.name == "postgresql":
        query = query.with_for_update(skip_locked=True)
    return [(item_from(row), row.lapses) for row in conn.execute(query)]
