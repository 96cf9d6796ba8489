"""Knows what must hold before a reviewer may claim, use a claim, or let an answer out."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage.database import now
from storage.errors import (
    AlreadyClaimed,
    AlreadyDecided,
    ContentChanged,
    InvalidValue,
    NotAReviewer,
    NotFound,
    NotSkilled,
    OwnRequest,
    PastDeadline,
    ReferredBySelf,
    StaleToken,
)
from storage.persons import same_person
from storage.records import OPEN_STATES, ItemState, Key, ReviewItem, Role, VerdictKind
from storage.rows import item_from
from storage.storable import checked_text, content_hash, from_json, is_visible
from storage.subjects import ERASED_NAME
from storage.tables import interactions, keys, review_items, verdicts

# Beside an item: the name of the key that asked.
ASKER = sa.select(keys.c.name).where(keys.c.id == review_items.c.asked_by).scalar_subquery().label("asker")
_BY_ID = sa.select(review_items, ASKER).where(review_items.c.id == sa.bindparam("item"))
_OWN = _BY_ID.where(review_items.c.tenant == sa.bindparam("tenant"))
# SQLite ignores locks: it has one writer.
_OWN_KEPT = _OWN.with_for_update(key_share=True)
_FREE = _BY_ID.with_for_update(skip_locked=True)

# Whose words they are: key and name, none of a key that is not there.
SPEAKERS = sa.select(verdicts.c.item_id, verdicts.c.reviewer_id, keys.c.name).join_from(
    verdicts, keys, keys.c.id == verdicts.c.reviewer_id, isouter=True
)
_SPEAKERS = SPEAKERS.where(verdicts.c.item_id == sa.bindparam("item"))
_NAMES = sa.select(keys.c.id, keys.c.name).where(keys.c.tenant == sa.bindparam("tenant"))


def row_for(conn: Connection, item_id: str, reviewer: Key, *, keep: bool = False) -> sa.Row[Any]:
    """The item's row; `keep`: nobody else changes it until the transaction ends.

    Raises NotFound, also for another tenant's item; NotAReviewer.
    """
    row = conn.execute(_OWN_KEPT if keep else _OWN, {"item": item_id, "tenant": reviewer.tenant}).one_or_none()
    if row is None:
        raise NotFound("review item", item_id)
    require_reviewer(reviewer)
    return row


def require_reviewer(reviewer: Key) -> None:
    """Raises NotAReviewer."""
    if not reviewer.roles & {Role.REVIEWER, Role.ADMIN}:
        raise NotAReviewer(reviewer.id)


def lock_free(conn: Connection, item_id: str) -> ReviewItem | None:
    """The item, kept for this transaction; None when another one has it (PostgreSQL; SQLite has one writer)."""
    row = conn.execute(_FREE, {"item": item_id}).one_or_none()
    return None if row is None else item_from(row)


def require_claimable(conn: Connection, item: ReviewItem, reviewer: Key, *, own: bool, at: float) -> None:
    """Raises AlreadyClaimed, AlreadyDecided, PastDeadline, OwnRequest, NotSkilled, ReferredBySelf.

    `own`: the reviewer is who asked.
    """
    if item.state is ItemState.CLAIMED:
        raise AlreadyClaimed(item, item.claimed_by)
    if item.state not in OPEN_STATES:
        raise AlreadyDecided(item)
    if item.expires_at <= at:
        raise PastDeadline(item)
    if own:
        raise OwnRequest(item)
    if reviewer.skills is not None and item.domain is not None and item.domain not in reviewer.skills:
        raise NotSkilled(item)
    if spoke(conn, item, reviewer):
        raise ReferredBySelf(item)


def spoke(conn: Connection, item: ReviewItem, reviewer: Key) -> bool:
    """Whether this person gave a word on the item, with whichever key."""
    if item.referred_by is None:  # nobody did
        return False
    rows = conn.execute(_SPEAKERS, {"item": item.id})
    return any(is_person(reviewer, row.reviewer_id, row.name) for row in rows)


def asked(row: Any, reviewer: Key) -> bool:
    """Whether this person asked, with whichever key, what the row with `asked_by` and `ASKER` is about.

    Whose an erased key was nobody can tell any more: it may be anybody's.
    """
    return row.asker == ERASED_NAME or is_person(reviewer, row.asked_by, row.asker)


def is_person(reviewer: Key, key_id: str, name: str | None) -> bool:
    """Whether the key of this id and name, of the same tenant, counts as this reviewer's."""
    return key_id == reviewer.id or same_person(name, reviewer.name)


def keys_that_may_be(conn: Connection, reviewer: Key) -> set[str]:
    """Ids of all keys by which this reviewer may have asked: those of the tenant with the same name, and erased ones.

    Reads all names.
    """
    rows = conn.execute(_NAMES, {"tenant": reviewer.tenant})
    mine = (row.id for row in rows if row.name == ERASED_NAME or same_person(row.name, reviewer.name))
    return {reviewer.id, *mine}


def held_item(conn: Connection, item_id: str, reviewer: Key, fencing_token: int) -> ReviewItem:
    """The item, if this reviewer holds it under this token and the lease still runs by the database's clock.

    It is kept for this transaction: what is written about it now is found by who ends or erases it.
    Raises NotFound, NotAReviewer, AlreadyDecided, OwnRequest, PastDeadline, StaleToken.
    """
    row = row_for(conn, item_id, reviewer, keep=True)
    item, at = item_from(row), now(conn)
    if item.state not in OPEN_STATES:
        raise AlreadyDecided(item)
    if asked(row, reviewer):
        raise OwnRequest(item)
    if item.expires_at <= at:
        raise PastDeadline(item)
    mine = item.state is ItemState.CLAIMED and item.claimed_by == reviewer.id and item.fencing_token == fencing_token
    if not mine or item.claim_expires_at is None or item.claim_expires_at <= at:
        raise StaleToken(item, fencing_token)
    return item


def require_reason(kind: VerdictKind, reason: str) -> None:
    if kind is not VerdictKind.APPROVE and not reason.strip():
        raise InvalidValue("reason", f"is required for the verdict {kind.value!r}; say why.")


def released_hash(conn: Connection, item: ReviewItem, kind: VerdictKind, content: str | None) -> str | None:
    """The hash of the text that this verdict lets out; None where it lets nothing out."""
    if (kind is VerdictKind.EDIT) != (content is not None):
        raise InvalidValue("content", "belongs to the verdict 'edit', and only to it: it is the corrected text.")
    if content is not None:
        if not is_visible(content):
            raise InvalidValue("content", "is empty: write the corrected text, or reject the answer.")
        return content_hash(checked_text("content", content))
    if kind is not VerdictKind.APPROVE:
        return None
    query = sa.select(interactions.c.answer, interactions.c.content_hash)
    row = conn.execute(query.where(interactions.c.id == item.interaction_id)).one()
    if content_hash(str(from_json(row.answer)["text"])) != row.content_hash:
        raise ContentChanged(item)
    return str(row.content_hash)
