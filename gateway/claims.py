"""Finds what a reviewer claims next, in Valkey's order and then SQL's, and shows it in the claim's own commit."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from gateway.context import Context
from gateway.desk import Opened, opened, shown_now
from gateway.review_shapes import Desk
from storage import audit_log, interactions, review_reads, reviews
from storage.errors import AlreadyClaimed, CannotVouch, DatabaseUnreachable, QueueUnreachable
from storage.records import ItemState, Key, Vouched

PAGE = 32  # items looked at in one go for the next claim
HINTED_PAGES = 4  # of Valkey's; who may decide none of these finds theirs faster with SQL, which knows the domains
log = structlog.get_logger("desk")


class CannotOpen(Exception):
    """An item that waits, and why it cannot be shown."""

    def __init__(self, item_id: str, why: Exception) -> None:
        super().__init__(item_id)
        self.item_id, self.why = item_id, why


async def claim_most_urgent(context: Context, reviewer: Key, domain: str | None) -> Desk | None:
    """Claims the first item that SQL grants this reviewer, and opens it; None when there is none.

    Valkey's order first, then SQL's: for what Valkey lacks (yet), or has only far down.
    """
    stale, got = list[str](), None
    refusal: CannotOpen | None = None
    async with aclosing(pages(context, reviewer, domain)) as found:
        async for ids in found:
            got, gone, refusal = await _claim_among(context, ids, reviewer, domain, refusal)
            stale += gone
            if got is not None:
                break
    if stale:
        await forget(context, stale, reviewer.tenant)
    if got is None and refusal is not None and isinstance(refusal.why, CannotVouch):
        raise refusal.why  # rather than that nothing waits: an operator can mend it
    return None if got is None else shown_now(context, got, reviewer)


async def _claim_among(
    context: Context, ids: list[str], reviewer: Key, domain: str | None, refusal: CannotOpen | None
) -> tuple[Opened | None, list[str], CannotOpen | None]:
    """The first of `ids` that can be opened, those that do not wait, and why the first that cannot be opened cannot.

    What cannot be opened is passed over and stays as it is. It costs no savepoint: its whole write is rolled back, and
    from then on a page is looked through before it is tried.
    """
    while True:
        if refusal is not None:
            read = partial(_told_apart, ids, reviewer)
            ids, left_out = await context.recorder.read(read, tenant=reviewer.tenant)
            _passed_over(context, left_out, refusal)
        if not ids:
            return None, [], refusal
        try:
            write = partial(_claim_first, context, ids, reviewer, domain)
            return *await context.recorder.write(write, tenant=reviewer.tenant), refusal
        except CannotOpen as error:
            _passed_over(context, [error.item_id], error)
            refusal, ids = refusal or error, [item_id for item_id in ids if item_id != error.item_id]


def _told_apart(ids: list[str], reviewer: Key, connection: Connection) -> tuple[list[str], list[str]]:
    """`ids` without those that wait and whose records nobody can vouch for now, and these."""
    items = review_reads.get_items(connection, ids, reviewer.tenant, for_reviewer=reviewer)
    outcomes = interactions.get_outcomes(connection, [item.interaction_id for item in items], reviewer.tenant)
    clear = {each.item.id for each in outcomes.values() if each.item and each.vouched in (Vouched.OURS, Vouched.NOT)}
    left_out = [item.id for item in items if item.state is ItemState.PENDING and item.id not in clear]
    return [item_id for item_id in ids if item_id not in set(left_out)], left_out


def _passed_over(context: Context, item_ids: list[str], refusal: CannotOpen) -> None:
    if item_ids:
        why = getattr(refusal.why, "code", type(refusal.why).__name__)
        context.metrics.passed_over.inc(len(item_ids))
        log.error("waiting items cannot be opened and are passed over", items=item_ids, why=why)


def _claim_first(
    context: Context, ids: list[str], reviewer: Key, domain: str | None, connection: Connection
) -> tuple[Opened | None, list[str]]:
    """Raises CannotOpen: then the write is to be rolled back, and the claim with it."""
    seconds = context.settings.claim_seconds
    with audit_log.together(connection):
        claimed, gone = reviews.claim_first(
            connection, item_ids=ids, reviewer=reviewer, lease_seconds=seconds, domain=domain
        )
        if claimed is None:
            return None, gone
        try:
            return opened(context, connection, claimed.item.id, reviewer, claimed_now=True), gone
        except (SQLAlchemyError, DatabaseUnreachable):  # of the database, not of this item
            raise
        except Exception as error:  # whatever somebody made of its records, others wait behind it
            raise CannotOpen(claimed.item.id, error) from error


async def pages(context: Context, reviewer: Key, domain: str | None) -> AsyncGenerator[list[str], None]:
    """Ids of items that may wait for this reviewer, none twice."""
    seen: set[str] = set()
    for part in (hinted(context, reviewer), waiting(context, reviewer, domain)):
        async for ids in part:
            fresh = [item_id for item_id in ids if item_id not in seen]
            seen.update(fresh)
            if fresh:
                yield fresh


async def hinted(context: Context, reviewer: Key) -> AsyncIterator[list[str]]:
    """Valkey's most urgent; nothing when it is away, which is logged and counted."""
    for page in range(HINTED_PAGES):
        try:
            ids = await context.hints.most_urgent(reviewer.tenant, PAGE, page * PAGE)
        except QueueUnreachable as error:
            context.metrics.queue_fallbacks.inc()
            log.warning("valkey is away; the database orders the desk", error=str(error))
            return
        if not ids:
            return
        yield ids


async def waiting(context: Context, reviewer: Key, domain: str | None) -> AsyncIterator[list[str]]:
    after: str | None = None
    while True:
        read = partial(
            review_reads.list_items,
            tenant=reviewer.tenant,
            states=(ItemState.PENDING,),
            after=after,
            limit=PAGE,
            for_reviewer=reviewer,
            domain=domain,
        )
        page = await context.recorder.read(read, tenant=reviewer.tenant)
        if not page:
            return
        yield [item.id for item in page]
        after = review_reads.cursor_of(page[-1])


async def claim(context: Context, reviewer: Key, item_id: str) -> Desk:
    """Claims this item, or extends the reviewer's claim of it, and opens it."""
    seconds, max_lapses = context.settings.claim_seconds, context.settings.max_claims

    def take(connection: Connection) -> Opened:
        with audit_log.together(connection):
            reviews.claim(connection, item_id, reviewer, seconds, max_lapses)
            return opened(context, connection, item_id, reviewer, claimed_now=True)

    def keep(connection: Connection, fencing_token: int) -> Opened:
        reviews.extend_claim(connection, item_id, reviewer, fencing_token, seconds)
        return opened(context, connection, item_id, reviewer)

    try:
        found = await context.recorder.write(take, tenant=reviewer.tenant)
    except AlreadyClaimed as error:
        if error.item.claimed_by != reviewer.id:
            raise
        mine = partial(keep, fencing_token=error.item.fencing_token)
        found = await context.recorder.write(mine, tenant=reviewer.tenant)
    return shown_now(context, found, reviewer)


async def forget(context: Context, ids: list[str], tenant: str) -> None:
    """Removes stale hints; the reconciler would do it later."""
    try:
        await context.hints.forget(ids, tenant)
    except QueueUnreachable:
        log.warning("valkey is away; stale hints stay", items=len(ids))
