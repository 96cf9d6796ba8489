"""What reviewers do with items: claim, draft, decide; and how the caller takes a question back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from storage import audit_log, full_text, log_ends, vouching
from storage.database import now
from storage.errors import (
    AlreadyDecided,
    CannotVouch,
    LapsedTooOften,
    NotFound,
    NotVouched,
    StaleToken,
)
from storage.ids import new_id
from storage.records import (
    OPEN_STATES,
    AuditEvent,
    Claim,
    Draft,
    ItemState,
    Key,
    ReviewItem,
    Verdict,
    VerdictKind,
)
from storage.review_guards import (
    asked,
    held_item,
    lock_free,
    released_hash,
    require_claimable,
    require_reason,
    require_reviewer,
    row_for,
    spoke,
)
from storage.review_moves import move
from storage.review_opinions import MAX_OPINIONS, RELEASING, agreeing, pass_on
from storage.review_reads import get_item, hints
from storage.review_sweeps import MAX_LAPSES, return_lapsed
from storage.rows import draft_from, fields_of, item_from, verdict_row
from storage.storable import checked_text
from storage.tables import drafts, review_items, verdicts
from storage.vault import vault_of

_OF_ITEM = sa.select(drafts).where(drafts.c.item_id == sa.bindparam("item"))
_DRAFTS = _OF_ITEM.order_by(drafts.c.saved_at.desc()).limit(1)
_MY_DRAFT = _OF_ITEM.where(drafts.c.reviewer_id == sa.bindparam("reviewer"))
_OUTCOMES = {
    VerdictKind.APPROVE: (ItemState.APPROVED, "review.approved"),
    VerdictKind.EDIT: (ItemState.EDITED, "review.edited"),
    VerdictKind.REJECT: (ItemState.REJECTED, "review.rejected"),
    VerdictKind.REFER: (ItemState.REFERRED, "review.referred"),
}


def claim(conn: Connection, item_id: str, reviewer: Key, lease_seconds: float, max_lapses: int = MAX_LAPSES) -> Claim:
    """A lease on the item, with a fencing token that SQL mints and that only grows.

    Raises NotFound, NotAReviewer, AlreadyClaimed, AlreadyDecided, PastDeadline, OwnRequest, NotSkilled, ReferredBySelf;
    LapsedTooOften when the item now lapsed `max_lapses` times: the next sweep quarantines it.
    """
    row = row_for(conn, item_id, reviewer, keep=True)  # else a lease could be taken that is being extended just now
    item, at = item_from(row), now(conn)
    if item.state is ItemState.CLAIMED and item.claim_expires_at is not None and item.claim_expires_at <= at:
        if row.lapses + 1 >= max_lapses:  # not quarantined here: this transaction ends in an error, which undoes it
            raise LapsedTooOften(item, row.lapses + 1)
        item = return_lapsed(conn, item, row.lapses, max_lapses)
        at = now(conn)  # not before the lapse
    require_claimable(conn, item, reviewer, own=asked(row, reviewer), at=at)
    return _grant(conn, item, reviewer, lease_seconds, at)


def claim_first(
    conn: Connection, item_ids: Sequence[str], reviewer: Key, lease_seconds: float, domain: str | None = None
) -> tuple[Claim | None, list[str]]:
    """A claim on the first of `item_ids` that waits for this reviewer, and those before it that do not wait at all.

    On PostgreSQL what another transaction claims right now is passed over, not waited for. Raises NotAReviewer.
    """
    require_reviewer(reviewer)
    at, stale = now(conn), list[str]()
    for hint in hints(conn, item_ids, reviewer):
        if hint.state != ItemState.PENDING.value or hint.expires_at <= at:
            stale.append(hint.id)
        elif domain in (None, hint.domain) and (item := lock_free(conn, hint.id)) is not None:
            if item.state is ItemState.PENDING:
                if spoke(conn, item, reviewer):  # under another key of the same person, which hints do not know
                    continue
                return _grant(conn, item, reviewer, lease_seconds, at), stale
            stale.append(hint.id)
    return None, stale


def _grant(conn: Connection, item: ReviewItem, reviewer: Key, lease_seconds: float, at: float) -> Claim:
    changes = {
        "fencing_token": item.fencing_token + 1,  # exact: the move is refused if another claim came between
        "claims": item.claims + 1,
        "claimed_by": reviewer.id,
        "claim_expires_at": at + lease_seconds,
    }
    actor, data = _actor(reviewer), {"reviewer": reviewer.id}
    claimed = move(conn, item, ItemState.CLAIMED, "review.claimed", actor, changes=changes, data=data, at=at)
    return Claim(claimed, reviewer.id, claimed.fencing_token, at + lease_seconds)


def release_claim(conn: Connection, item_id: str, reviewer: Key, fencing_token: int) -> ReviewItem:
    """Puts the item back for anyone, its draft kept. Raises NotFound, AlreadyDecided, StaleToken."""
    item = held_item(conn, item_id, reviewer, fencing_token)
    data = {"reviewer": reviewer.id}
    return move(conn, item, ItemState.PENDING, "review.claim_released", _actor(reviewer), data=data)


def extend_claim(conn: Connection, item_id: str, reviewer: Key, fencing_token: int, lease_seconds: float) -> Claim:
    """A lease from now on under the same token. Raises NotFound, AlreadyDecided, StaleToken."""
    item = held_item(conn, item_id, reviewer, fencing_token)
    expires_at = now(conn) + lease_seconds
    held = (
        review_items.c.id == item.id,
        review_items.c.version == item.version,
        review_items.c.fencing_token == fencing_token,
    )
    update = sa.update(review_items).where(*held).values(claim_expires_at=expires_at).returning(review_items)
    row = conn.execute(update).one_or_none()
    if row is None:
        raise StaleToken(item, fencing_token)
    data = {"reviewer": reviewer.id, "fencing_token": fencing_token, "version": item.version}
    _append(conn, "review.extended", reviewer, row, data)
    return Claim(item_from(row), reviewer.id, fencing_token, expires_at)


def save_draft(conn: Connection, item_id: str, reviewer: Key, fencing_token: int, text: str, note: str) -> Draft:
    """Keeps what the reviewer typed so far. Raises NotFound, AlreadyDecided, StaleToken, InvalidValue."""
    item = held_item(conn, item_id, reviewer, fencing_token)
    draft = Draft(item.id, reviewer.id, checked_text("text", text), checked_text("note", note), now(conn))
    insert, row = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert, fields_of(draft)
    kept = insert(drafts).values(row).on_conflict_do_update(index_elements=["item_id", "reviewer_id"], set_=row)
    conn.execute(kept)
    return draft


def get_draft(conn: Connection, item_id: str, reviewer_id: str | None = None) -> Draft | None:
    """This reviewer's draft, or without a reviewer the latest one."""
    if reviewer_id is None:
        row = conn.execute(_DRAFTS, {"item": item_id}).one_or_none()
    else:
        row = conn.execute(_MY_DRAFT, {"item": item_id, "reviewer": reviewer_id}).one_or_none()
    return None if row is None else draft_from(row)


def decide(
    conn: Connection,
    item_id: str,
    reviewer: Key,
    fencing_token: int,
    kind: VerdictKind,
    reason: str,
    content: str | None,
    traceparent: str | None = None,
    max_opinions: int = MAX_OPINIONS,
) -> tuple[ReviewItem, Verdict]:
    """The item afterwards and the verdict, made over the very bytes that it releases.

    A referred item comes back pending, for a different person; so does one under four eyes whose text nobody else has
    stood up for yet. After `max_opinions` words without an end it is quarantined.

    Raises NotFound, AlreadyDecided, StaleToken, OwnRequest, PastDeadline, ContentChanged; NotVouched and
    CannotVouch, whatever the verdict, for records, or others' words, that were not written under this master key;
    InvalidValue for a missing reason or content that does not fit the kind.
    """
    item = held_item(conn, item_id, reviewer, fencing_token)
    require_reason(kind, reason)
    text_hash = released_hash(conn, item, kind, content)
    if kind in RELEASING:
        log_ends.require_open(conn, item)
    vouching.require_decision(conn, item)
    vouching.require_words(conn, item)
    first = agreeing(conn, item, reviewer.id, text_hash) if item.four_eyes else None
    alone = kind in RELEASING and item.four_eyes and first is None
    verdict = Verdict(
        id=new_id("ver"),
        item_id=item.id,
        reviewer_id=reviewer.id,
        kind=kind,
        reason=checked_text("reason", reason),
        content=content,
        content_hash=text_hash,
        fencing_token=fencing_token,
        created_at=now(conn),
        traceparent=traceparent,
        final=kind is not VerdictKind.REFER and not alone,
    )
    return _apply(conn, item, reviewer, verdict, first, max_opinions), verdict


def refused_verdict(conn: Connection, item_id: str, reviewer: Key, fencing_token: int, why: str) -> AuditEvent:
    """Records that a verdict came too late, in a transaction of its own. Raises NotFound."""
    row = row_for(conn, item_id, reviewer)
    data = {"reviewer": reviewer.id, "fencing_token": fencing_token, "why": why, "state": row.state}
    return _append(conn, "verdict.refused", reviewer, row, data)


def quarantine_unvouched(conn: Connection, item_id: str, tenant: str) -> ReviewItem | None:
    """Ends an open item whose records, or whose people's words, are not those that were written here, or that had
    ended and was opened again past the program.

    None when there is no such item, it has ended, its records are as they were, or nobody can tell for now.
    """
    item = get_item(conn, item_id, tenant)
    if item is None or item.state not in OPEN_STATES:
        return None
    try:
        vouching.require_decision(conn, item)
        vouching.require_words(conn, item)
        log_ends.require_open(conn, item)
    except CannotVouch:
        return None
    except NotVouched as altered:
        changes, data = {"decided_at": now(conn)}, {"why": altered.code}
        return move(conn, item, ItemState.QUARANTINED, "review.quarantined", "system", changes=changes, data=data)
    return None


def withdraw(conn: Connection, item_id: str, actor: str, tenant: str) -> ReviewItem:
    """The caller took the question back. Raises NotFound, AlreadyDecided."""
    item = get_item(conn, item_id, tenant)
    if item is None:
        raise NotFound("review item", item_id)
    if item.state not in OPEN_STATES:
        raise AlreadyDecided(item)
    changes = {"decided_at": now(conn)}
    return move(conn, item, ItemState.WITHDRAWN, "review.withdrawn", actor, changes=changes)


def _apply(
    conn: Connection, item: ReviewItem, reviewer: Key, verdict: Verdict, first: Verdict | None, max_opinions: int
) -> ReviewItem:
    """`first`: the word of another person that this one agrees with, where two must agree."""
    state, event = _OUTCOMES[verdict.kind] if verdict.final else _OUTCOMES[VerdictKind.REFER]
    # people quote the answer in their reasons, and a short answer can be guessed from its hash: events outlive both
    data = {
        "reviewer": reviewer.id,
        "verdict": verdict.kind.value,
        "verdict_id": verdict.id,
    }
    private = {"content_hash": verdict.content_hash, "said": verdict.reason}
    if first is not None:
        data |= {"first_reviewer": first.reviewer_id, "first_verdict_id": first.id}
    ended = {"claimed_by": reviewer.id, "decided_at": verdict.created_at}
    changes: dict[str, Any] = ended if verdict.final else {"referred_by": reviewer.id}
    actor, at = _actor(reviewer), verdict.created_at
    moved = move(conn, item, state, event, actor, changes=changes, data=data, private=private, at=at)
    row, vault = verdict_row(verdict, item, first), vault_of(conn)
    row["vouched"] = None if vault is None else vouching.verdict_mac(vault, row, item.interaction_id)
    conn.execute(verdicts.insert(), row)
    if verdict.content is not None:
        full_text.keep_correction(conn, item.interaction_id, verdict.content)
    if not verdict.final:
        moved = pass_on(conn, moved, reviewer.id, max_opinions)
    if moved.state not in OPEN_STATES:
        conn.execute(sa.delete(drafts).where(drafts.c.item_id == item.id))
    return moved


def _append(conn: Connection, kind: str, reviewer: Key, row: sa.Row[Any], data: dict[str, Any]) -> AuditEvent:
    return audit_log.append(
        conn,
        kind,
        _actor(reviewer),
        row.tenant,
        interaction_id=row.interaction_id,
        item_id=row.id,
        trace_id=row.trace_id,
        data={"key_id": row.asked_by, **data},
    )


def _actor(reviewer: Key) -> str:
    return f"key:{reviewer.id}"
