"""Keeps Valkey in step with SQL, and hands a reviewer the next item in Valkey's order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter

from sqlalchemy import Connection

from storage import outbox, review_reads, reviews
from storage.database import Database
from storage.errors import Conflict, NotFound, QueueUnreachable
from storage.outbox import Note
from storage.records import Claim, ItemState, Key
from storage.review_queue import ReviewQueue
from storage.review_reads import Waiting

_PAGE = 1_000
_HEAD = 50  # ids looked at together when searching for one that this reviewer may claim


def relay(database: Database, queue: ReviewQueue, limit: int = 500) -> int:
    """Brings the items that the oldest notes speak of up to date in Valkey; returns how many notes that were.

    Idempotent and safe in any order: what is queued follows the item's state now, not the note's wording. A crash
    between Valkey and the commit repeats it. Raises DatabaseUnreachable, QueueUnreachable.
    """
    if database.dialect == "postgresql":  # notes stay locked meanwhile, so that several relays share the work
        with database.transaction() as conn:
            notes = _pass_on(conn, queue, limit)
            outbox.mark_done(conn, [note.id for note in notes])
        return len(notes)
    with database.read() as conn:  # SQLite's one writer must not wait for Valkey
        notes = _pass_on(conn, queue, limit)
    if notes:
        with database.transaction() as conn:
            outbox.mark_done(conn, [note.id for note in notes])
    return len(notes)


def reconcile(database: Database, queue: ReviewQueue) -> int:
    """Removes from Valkey what no longer waits, adds what does; returns how many corrections that took.

    Rebuilds an emptied Valkey. Raises DatabaseUnreachable, QueueUnreachable.
    """
    removed = sum(_remove_stale(database, queue, tenant) for tenant in queue.tenants())
    return removed + sum(_add_missing(queue, page) for page in _waiting_pages(database))


def claim_next(
    database: Database, queue: ReviewQueue, reviewer: Key, lease_seconds: float, domain: str | None = None
) -> Claim | None:
    """Claims the first item in Valkey's order that this reviewer may have; None when none waits.

    Without Valkey the order is SQL's. Raises NotAReviewer, DatabaseUnreachable.
    """
    for item_ids in _heads(database, queue, reviewer.tenant):
        with database.read() as conn:
            items = review_reads.claimable_among(conn, item_ids, reviewer, domain)
        for item in items:
            try:
                with database.transaction() as conn:
                    return reviews.claim(conn, item.id, reviewer, lease_seconds)
            except (Conflict, NotFound):
                continue  # someone was faster
    return None


def _pass_on(conn: Connection, queue: ReviewQueue, limit: int) -> list[Note]:
    notes = outbox.take(conn, limit)
    tenant_of = {str(note.payload["item_id"]): str(note.payload["tenant"]) for note in notes}
    waiting = review_reads.waiting_among(conn, tenant_of)
    queue.rebuild(waiting.values())
    gone = sorted((tenant, item_id) for item_id, tenant in tenant_of.items() if item_id not in waiting)
    for tenant, pairs in groupby(gone, key=lambda pair: pair[0]):
        queue.remove_all([item_id for _, item_id in pairs], tenant)
    return notes


def _remove_stale(database: Database, queue: ReviewQueue, tenant: str) -> int:
    removed, offset = 0, 0
    while page := queue.most_urgent(tenant, _PAGE, offset):
        with database.read() as conn:
            waiting = review_reads.waiting_among(conn, page)
        stale = [item_id for item_id in page if item_id not in waiting]
        queue.remove_all(stale, tenant)
        removed += len(stale)
        offset += len(page) - len(stale)
    return removed


def _waiting_pages(database: Database) -> Iterator[list[Waiting]]:
    last: Waiting | None = None
    while True:
        with database.read() as conn:
            page = review_reads.waiting_ids(conn, _PAGE, last)
        if not page:
            return
        yield page
        last = page[-1]


def _add_missing(queue: ReviewQueue, page: list[Waiting]) -> int:
    added = 0
    for tenant, members in groupby(sorted(page, key=attrgetter("tenant")), key=attrgetter("tenant")):
        rows = {row.item_id: row for row in members}
        added += queue.rebuild(rows[item_id] for item_id in queue.missing(tenant, list(rows)))
    return added


def _heads(database: Database, queue: ReviewQueue, tenant: str) -> Iterator[list[str]]:
    """Pages of ids, most urgent first; from SQL when Valkey cannot be asked."""
    offset = 0
    try:
        while page := queue.most_urgent(tenant, _HEAD, offset):
            yield page
            offset += len(page)
    except QueueUnreachable:
        yield from _heads_from_sql(database, tenant)


def _heads_from_sql(database: Database, tenant: str) -> Iterator[list[str]]:
    after: str | None = None
    while True:
        with database.read() as conn:
            page = reviews.list_items(conn, tenant, states=[ItemState.PENDING], after=after, limit=_HEAD)
        if not page:
            return
        yield [item.id for item in page]
        after = reviews.cursor_of(page[-1])
