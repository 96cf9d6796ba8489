"""Keeps Valkey in step with SQL, whatever was lost on the way."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter

from sqlalchemy import Connection

from storage import outbox, review_reads
from storage.database import Database
from storage.outbox import Note
from storage.review_queue import ReviewQueue
from storage.review_reads import Waiting

_PAGE = 1_000


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
    return sum(corrections(database, queue))


def corrections(database: Database, queue: ReviewQueue) -> Iterator[int]:
    """`reconcile` page by page, for who has more to do: each yields how many corrections it took."""
    for tenant in queue.tenants():
        yield from _remove_stale(database, queue, tenant)
    for page in _waiting_pages(database):
        yield _add_missing(queue, page)


def _pass_on(conn: Connection, queue: ReviewQueue, limit: int) -> list[Note]:
    notes = outbox.take(conn, limit)
    tenant_of = {str(note.payload["item_id"]): str(note.payload["tenant"]) for note in notes}
    waiting = review_reads.waiting_among(conn, tenant_of)
    queue.rebuild(waiting.values())
    gone = sorted((tenant, item_id) for item_id, tenant in tenant_of.items() if item_id not in waiting)
    for tenant, pairs in groupby(gone, key=lambda pair: pair[0]):
        queue.remove_all([item_id for _, item_id in pairs], tenant)
    return notes


def _remove_stale(database: Database, queue: ReviewQueue, tenant: str) -> Iterator[int]:
    offset = 0
    while page := queue.most_urgent(tenant, _PAGE, offset):
        with database.read() as conn:
            waiting = review_reads.waiting_among(conn, page)
        stale = [item_id for item_id in page if item_id not in waiting]
        queue.remove_all(stale, tenant)
        offset += len(page) - len(stale)
        yield len(stale)


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
