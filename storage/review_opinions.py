"""Knows the words on an item that ended nothing: referrals, and the first of two who must agree on a text."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from storage import vouching
from storage.database import now
from storage.persons import same_person
from storage.records import ItemState, Outcome, ReviewItem, Verdict, VerdictKind, Vouched
from storage.review_moves import move
from storage.rows import verdict_from
from storage.subjects import ERASED_NAME
from storage.tables import keys, verdicts
from storage.vault import vault_of

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


def heard(conn: Connection, outcome: Outcome, item_id: str) -> tuple[list[Verdict], Vouched]:
    """`opinions`, and the worst of what the outcome and they are: others' words are shown beside its answer."""
    rows, found = conn.execute(_OPEN, {"item": item_id}).all(), outcome.vouched
    for row in rows:
        found = vouching.with_word(vault_of(conn), found, row._mapping, outcome.interaction.id)
    return [verdict_from(row) for row in rows], found


def agreeing(conn: Connection, item: ReviewItem, reviewer_id: str, content_hash: str | None) -> Verdict | None:
    """Another person's earlier word for the very text that this hash is of; that each was given here, is known.

    Whose an erased key was nobody can tell any more, so its words agree with nobody's.
    """
    same = [word for word in opinions(conn, item.id) if word.content_hash == content_hash is not None]
    names = _names(conn, {reviewer_id, *(word.reviewer_id for word in same)}) if same else {}
    mine = names.get(reviewer_id)
    if mine is None:
        return None
    others = ((word, names.get(word.reviewer_id)) for word in same)
    return next((word for word, name in others if name is not None and not same_person(name, mine)), None)


def _names(conn: Connection, key_ids: set[str]) -> dict[str, str]:
    """Names by key; none of erased ones."""
    named = sa.select(keys.c.id, keys.c.name).where(keys.c.id.in_(sorted(key_ids)), keys.c.name != ERASED_NAME)
    return {row.id: row.name for row in conn.execute(named)}


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
