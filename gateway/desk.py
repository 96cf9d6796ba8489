"""Reads a review item with all that a reviewer should see of it, and finds the next one to claim."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from functools import partial

import structlog
from sqlalchemy import Connection

from gateway.context import Context
from gateway.errors import not_found
from gateway.review_shapes import Desk, summary
from storage import calibrations, interactions, keys, policies, review_opinions, review_reads, reviews
from storage.errors import QueueUnreachable
from storage.records import Claim, ItemState, Key, ReviewItem

PAGE = 32  # items looked at in one go for the next claim
HINTED_PAGES = 4  # of Valkey's; who may decide none of these finds theirs faster with SQL, which knows the domains
log = structlog.get_logger("desk")


def desk_of(connection: Connection, item_id: str, reader: Key) -> Desk:
    """The item with the reader's own draft. Raises ApiError 404, also for another tenant's item."""
    tenant = reader.tenant
    item = review_reads.get_item(connection, item_id, tenant)
    outcome = interactions.get_outcome(connection, item.interaction_id, tenant) if item else None
    if item is None or outcome is None:
        raise not_found("review item", item_id)
    decision, verdict = outcome.decision, outcome.verdict
    looked_at = item.claims > 1 or item.state is not ItemState.CLAIMED  # at a first claim nobody has said anything
    words = review_opinions.opinions(connection, item_id) if looked_at else []
    people = {item.claimed_by, verdict.reviewer_id if verdict else None, *(word.reviewer_id for word in words)}
    return Desk(
        outcome=outcome,
        item=item,
        names=keys.names(connection, [person for person in people if person], tenant),
        draft=reviews.get_draft(connection, item_id, reader.id),
        calibration=calibrations.get(connection, decision.calibration_id) if decision.calibration_id else None,
        policy=policies.get_policy(connection, decision.policy_id, tenant, decision.policy_version),
        opinions=words,
        barred=review_reads.barred(connection, [item], reader).get(item.id),
    )


def summaries_of(connection: Connection, items: Sequence[ReviewItem], reader: Key) -> list[dict[str, object]]:
    names = keys.names(connection, [item.claimed_by for item in items if item.claimed_by], reader.tenant)
    outcomes = interactions.get_outcomes(connection, [item.interaction_id for item in items], reader.tenant)
    barred = review_reads.barred(connection, items, reader)
    return [
        summary(outcomes[item.interaction_id], item, names, barred.get(item.id))
        for item in items
        if item.interaction_id in outcomes
    ]


async def claim_most_urgent(context: Context, reviewer: Key, domain: str | None) -> ReviewItem | None:
    """Claims the first item that SQL grants this reviewer; None when there is none.

    Valkey's order first, then SQL's: for what Valkey lacks (yet), or has only far down.
    """
    seconds, stale = context.settings.claim_seconds, list[str]()
    claimed: Claim | None = None
    async with aclosing(pages(context, reviewer, domain)) as found:
        async for ids in found:
            claimed, gone = await context.recorder.write(
                partial(reviews.claim_first, item_ids=ids, reviewer=reviewer, lease_seconds=seconds, domain=domain),
                tenant=reviewer.tenant,
            )
            stale += gone
            if claimed is not None:
                break
    if stale:
        await forget(context, stale, reviewer.tenant)
    return None if claimed is None else claimed.item


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
            ids = await asyncio.to_thread(context.queue.most_urgent, reviewer.tenant, PAGE, page * PAGE)
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


async def claim(context: Context, reviewer: Key, item_id: str) -> ReviewItem:
    seconds, max_lapses = context.settings.claim_seconds, context.settings.max_claims
    claimed = await context.recorder.write(
        lambda connection: reviews.claim(connection, item_id, reviewer, seconds, max_lapses), tenant=reviewer.tenant
    )
    return claimed.item


async def forget(context: Context, ids: list[str], tenant: str) -> None:
    """Removes stale hints; the reconciler would do it later."""
    try:
        await asyncio.to_thread(context.queue.remove_all, ids, tenant)
    except QueueUnreachable:
        log.warning("valkey is away; stale hints stay", items=len(ids))
