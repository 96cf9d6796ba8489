"""Knows the words on an item that ended nothing: referrals, and the first of two who must agree on a text."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from storage import vouching
from storage.database import now
from storage.records import ItemState, ReviewItem, Verdict, VerdictKind
from storage.review_moves import move
from storage.rows import verdict_from
from storage.subjects import ERASED_NAME
from storage.tables import keys, verdicts

MAX_OPINIONS = 5  # people who may look at one item without an end; then it is quarantined
_OPEN = (
    sa.select(verdicts)
    .where(verdicts.c.item_id == sa.bindparam("item"), sa.not_(verdicts.c.final))
    .order_by(verdicts.c.fencing_token)
)
RELEASING = frozenset({VerdictKind.APPROVE, VerdictKind.EDIT})


def opinions(conn: Connection, item_id: str) -> list[Verdict]:
    """What was said of the item without ending it, oldest first."""
    return [verdict_from(row) for row in conn.execute(_OPEN, {"item": item_id})]


def agreeing(conn: Connection, item: ReviewItem, reviewer_id: str, content_hash: str | None) -> Verdict | None:
    """Another person's earlier word for the very text that this hash is of. Raises NotVouched, CannotVouch.

    Whose an erased key was nobody can tell any more, so its words agree with nobody's.
    """
    vouching.require_words(conn, item)
    same = [word for word in opinions(conn, item.id) if word.content_hash == content_hash is not None]
    others = [word for word in same if word.reviewer_id != reviewer_id]
    erased = _erased(conn, {reviewer_id, *(word.reviewer_id for word in others)}) if others else set[str]()
    return next((word for word in others if erased.isdisjoint((word.reviewer_id, reviewer_id))), None)


def _erased(conn: Connection, key_ids: set[str]) -> set[str]:
    nameless = sa.select(keys.c.id).where(keys.c.id.in_(sorted(key_ids)), keys.c.name == ERASED_NAME)
    return set(conn.execute(nameless).scalars())


def pass_on(conn: Connection, referred: ReviewItem, reviewer_id: str, max_opinions: int) -> ReviewItem:
    """Puts a referred item before a different person, or into quarantine when `max_opinions` found no end."""
    said = conn.execute(
        sa.select(sa.func.count()).select_from(verdicts).where(verdicts.c.item_id == referred.id)
    ).scalar_one()
    data = {"reviewer": reviewer_id, "opinions": said}
    if said < max_opinions:
        return move(conn, referred, ItemState.PENDING, "review.reopened", "system", data=data)
    changes = {"decided_at": now(conn)}
    return move(conn, referred, ItemState.QUARANTINED, "review.quarantined", "system", changes=changes, data=data)
