"""Moves a review item from one state to another: one compare-and-set, one audit event, one note to the queue."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage import audit_log, outbox, subjects
from storage.database import now
from storage.errors import AlreadyClaimed, AlreadyDecided, Conflict, IllegalTransition, NotFound
from storage.records import OPEN_STATES, ItemState, ReviewItem
from storage.rows import item_from
from storage.tables import review_items

_FIELDS = {field.name for field in dataclasses.fields(ReviewItem)}
_S = ItemState
TRANSITIONS: frozenset[tuple[ItemState, ItemState]] = frozenset(
    {
        (_S.PENDING, _S.CLAIMED),
        (_S.CLAIMED, _S.PENDING),  # released by the reviewer, or the lease ran out
        (_S.CLAIMED, _S.APPROVED),
        (_S.CLAIMED, _S.EDITED),
        (_S.CLAIMED, _S.REJECTED),
        (_S.CLAIMED, _S.REFERRED),
        (_S.REFERRED, _S.PENDING),  # for a different person, also for the second of two who must agree
        *((state, end) for state in OPEN_STATES for end in (_S.EXPIRED, _S.QUARANTINED, _S.WITHDRAWN)),
    }
)


def move(
    conn: Connection,
    item: ReviewItem,
    to: ItemState,
    kind: str,
    actor: str,
    *,
    changes: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    private: dict[str, Any] | None = None,
    at: float | None = None,
) -> ReviewItem:
    """The item after the move; `changes` are further columns, `data` further facts for the audit event, `private` those
    that can be erased with whoever asked; `at` is the database's clock, where the caller has just read it.

    Raises IllegalTransition for a move outside TRANSITIONS; AlreadyDecided, AlreadyClaimed or Conflict when another
    transaction moved the item since `item` was read.
    """
    if (item.state, to) not in TRANSITIONS:
        raise IllegalTransition(item, to.value)
    values = {"claimed_by": None, "claim_expires_at": None, **(changes or {}), "state": to.value}
    seen = {"seen_id": item.id, "seen_state": item.state.value, "seen_version": item.version}
    given = {**values, **seen, "seen_token": item.fencing_token, "next_version": item.version + 1}
    row = conn.execute(_compare_and_set(tuple(sorted(values))), given).one_or_none()
    if row is None:
        raise _lost_race(conn, item)
    kept = {name: values[name] for name in _FIELDS & values.keys()}
    moved = dataclasses.replace(item, **{**kept, "state": to, "version": item.version + 1})
    topic = outbox.REVIEW_ENQUEUE if to is ItemState.PENDING else outbox.REVIEW_REMOVE
    at = now(conn) if at is None else at
    outbox.add(conn, topic, {"item_id": item.id, "tenant": item.tenant}, at)
    _note(conn, item, moved, row, kind, actor, data or {}, private, at)
    return moved


@functools.cache
def _compare_and_set(names: tuple[str, ...]) -> sa.Update:
    """The update of these columns, made once: making it anew took longer than running it."""
    table = review_items.c
    unchanged = (
        table.id == sa.bindparam("seen_id"),
        table.state == sa.bindparam("seen_state"),
        table.version == sa.bindparam("seen_version"),
        table.fencing_token == sa.bindparam("seen_token"),
    )
    values = {name: sa.bindparam(name, type_=table[name].type) for name in names}
    update = sa.update(review_items).where(*unchanged).values(version=sa.bindparam("next_version"), **values)
    return update.returning(table.asked_by, table.trace_id)


def _note(
    conn: Connection,
    before: ReviewItem,
    after: ReviewItem,
    row: sa.Row[Any],
    kind: str,
    actor: str,
    data: dict[str, Any],
    private: dict[str, Any] | None,
    at: float,
) -> None:
    facts = {
        "from": before.state.value,
        "to": after.state.value,
        "version": after.version,
        "fencing_token": after.fencing_token,
        "action": after.action.value,
        "tier": after.tier.value,
        "key_id": row.asked_by,
    }
    audit_log.append(
        conn,
        kind,
        actor,
        after.tenant,
        interaction_id=after.interaction_id,
        item_id=after.id,
        trace_id=row.trace_id,
        data={**facts, **data},
        private=private,
        subject=subjects.of_interaction(conn, after.interaction_id) if private else None,
        at=at,
    )


def _lost_race(conn: Connection, item: ReviewItem) -> Conflict | NotFound:
    row = conn.execute(sa.select(review_items).where(review_items.c.id == item.id)).one_or_none()
    if row is None:
        return NotFound("review item", item.id)
    found = item_from(row)
    if found.state not in OPEN_STATES:
        return AlreadyDecided(found)
    if found.state is ItemState.CLAIMED:
        return AlreadyClaimed(found, found.claimed_by)
    return Conflict(found, f"Review item {item.id!r} changed meanwhile: read it again.")
