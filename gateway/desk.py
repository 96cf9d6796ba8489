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
from storage import calibrations, interactions, keys, policies, review_reads, reviews
from storage.errors import Conflict, NotFound, OwnRequest, QueueUnreachable, ReferredBySelf
from storage.records import ItemState, Key, ReviewItem

PAGE = 32  # items looked at in one go for the next claim
log = structlog.get_logger("desk")


def desk_of(connection: Connection, item_id: str, reader: Key) -> Desk:
    """The item with the reader's own draft. Raises ApiError 404, also for another tenant's item."""
    tenant = reader.tenant
    item = review_reads.get_item(connection, item_id, tenant)
    outcome = interactions.get_outcome(connection, item.interaction_id, tenant) if item else None
    if item is None or outcome is None:
        raise not_found("review item", item_id)
    decision, verdict = outcome.decision, outcome.verdict
    people = [person for person in (item.claimed_by, verdict.reviewer_id if verdict else None) if person]
    return Desk(
        outcome=outcome,
        item=item,
        names=keys.names(connection, people, tenant),
        draft=reviews.get_draft(connection, item_id, reader.id),
        calibration=calibrations.get(connection, decision.calibration_id) if decision.calibration_id else None,
        policy=policies.get_policy(connection, decision.policy_id, tenant, decision.policy_version),
    )


def summaries_of(connection: Connection, items: Sequence[ReviewItem], tenant: str) -> list[dict[str, object]]:
    names = keys.names(connection, [item.claimed_by for item in items if item.claimed_by], tenant)
    outcomes = interactions.get_outcomes(connection, [item.interaction_id for item in items], tenant)
    return [summary(outcomes[item.interaction_id], item, names) for item in items if item.interaction_id in outcomes]


async def claim_most_urgent(context: Context, reviewer: Key, domain: str | None) -> ReviewItem | None:
    """Claims the first item that SQL grants this reviewer; None when there is none."""
    stale: list[str] = []
    claimed: ReviewItem | None = None
    async with aclosing(candidates(context, reviewer, domain)) as item_ids:
        async for item_id in item_ids:
            try:
                claimed = await claim(context, reviewer, item_id)
                break
            except (OwnRequest, ReferredBySelf):
                continue  # referred since it was read
            except (NotFound, Conflict):
                stale.append(item_id)  # someone was faster, or Valkey lags behind
    if stale:
        await forget(context, stale, reviewer.tenant)
    return claimed


async def candidates(context: Context, reviewer: Key, domain: str | None) -> AsyncGenerator[str, None]:
    """Ids of items that wait for this reviewer: in Valkey's order, then in SQL's those that Valkey lacks (yet)."""
    seen: set[str] = set()
    async for page in chain(hinted(context, reviewer), waiting(context, reviewer)):
        for item in page:
            if item.id not in seen and domain in (None, item.domain):
                yield item.id
            seen.add(item.id)


async def hinted(context: Context, reviewer: Key) -> AsyncIterator[list[ReviewItem]]:
    """Valkey's most urgent; nothing when it is away, which is logged and counted."""
    offset = 0
    while True:
        try:
            ids = await asyncio.to_thread(context.queue.most_urgent, reviewer.tenant, PAGE, offset)
        except QueueUnreachable as error:
            context.metrics.queue_fallbacks.inc()
            log.warning("valkey is away; the database orders the desk", error=str(error))
            return
        if not ids:
            return
        read = partial(review_reads.get_items, item_ids=ids, tenant=reviewer.tenant, for_reviewer=reviewer.id)
        yield await context.recorder.read(read)
        offset += len(ids)


async def waiting(context: Context, reviewer: Key) -> AsyncIterator[list[ReviewItem]]:
    after: str | None = None
    while True:
        read = partial(
            review_reads.list_items,
            tenant=reviewer.tenant,
            states=(ItemState.PENDING,),
            after=after,
            limit=PAGE,
            for_reviewer=reviewer.id,
        )
        page = await context.recorder.read(read)
        if not page:
            return
        yield page
        after = review_reads.cursor_of(page[-1])


async def chain(*parts: AsyncIterator[list[ReviewItem]]) -> AsyncIterator[list[ReviewItem]]:
    for part in parts:
        async for page in part:
            yield page


async def claim(context: Context, reviewer: Key, item_id: str) -> ReviewItem:
    seconds, max_lapses = context.settings.claim_seconds, context.settings.max_claims
    claimed = await context.recorder.write(
        lambda connection: reviews.claim(connection, item_id, reviewer, seconds, max_lapses)
    )
    return claimed.item


async def forget(context: Context, ids: list[str], tenant: str) -> None:
    """Removes stale hints; the reconciler would do it later."""
    try:
        await asyncio.to_thread(context.queue.remove_all, ids, tenant)
    except QueueUnreachable:
        log.warning("valkey is away; stale hints stay", items=len(ids))
