"""On PostgreSQL nobody waits for a row that another transaction holds: claims, relays and sweeps take the others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from storage import outbox, review_sweeps, reviews
from storage.database import Database
from storage.records import ItemState, Key, ReviewItem
from storage.tables import outbox as notes_table
from storage.tables import review_items
from tests.storage.conftest import empty
from tests.storage.made import LEASE, held, pass_time
from tests.storage.reviewing import claim

OLDEST_NOTE = sa.select(notes_table.c.id).order_by(notes_table.c.id).limit(1)


@pytest.fixture
def database(migrated_postgres: Database) -> Database:
    empty(migrated_postgres)
    return migrated_postgres


@pytest.fixture
def both(database: Database, caller: Key) -> tuple[ReviewItem, ReviewItem]:
    """Two held answers, the first of which is the next one in every order."""
    return held(database, caller), held(database, caller)


@contextlib.contextmanager
def beside_a_holder(database: Database, row: sa.Select[Any]) -> Iterator[Connection]:
    """A transaction beside one that has the row; the database refuses whatever would wait for it."""
    with database.transaction() as holder, database.transaction() as conn:
        holder.execute(row.with_for_update()).one()
        conn.exec_driver_sql("SET LOCAL lock_timeout = '100ms'")
        yield conn


def of(item: ReviewItem) -> sa.Select[Any]:
    return sa.select(review_items.c.id).where(review_items.c.id == item.id)


def test_a_claim_takes_the_item_after_the_one_that_is_held(
    database: Database, both: tuple[ReviewItem, ReviewItem], ada: Key
) -> None:
    first, second = both
    with beside_a_holder(database, of(first)) as conn:
        claimed, stale = reviews.claim_first(conn, [first.id, second.id], ada, LEASE)
    assert claimed is not None
    assert (claimed.item.id, stale) == (second.id, [])  # the held one stays in the queue: it may yet be let go


def test_a_relay_takes_the_notes_that_no_other_relay_has(
    database: Database, both: tuple[ReviewItem, ReviewItem]
) -> None:
    first, second = both
    with beside_a_holder(database, OLDEST_NOTE) as conn:
        notes = outbox.take(conn, 10)
    assert [note.payload["item_id"] for note in notes] == [second.id]
    with database.transaction() as conn:
        assert [note.payload["item_id"] for note in outbox.take(conn, 10)] == [first.id, second.id]


def test_expiry_leaves_the_item_that_someone_moves_for_the_next_time(
    database: Database, both: tuple[ReviewItem, ReviewItem]
) -> None:
    first, second = both
    for item in both:
        pass_time(database, item.id, 2 * 86_400.0)
    with beside_a_holder(database, of(first)) as conn:
        assert [item.id for item in review_sweeps.expire_due(conn)] == [second.id]
    with database.transaction() as conn:
        assert [item.id for item in review_sweeps.expire_due(conn)] == [first.id]


def test_a_lapsed_claim_that_someone_moves_is_left_for_the_next_time(
    database: Database, both: tuple[ReviewItem, ReviewItem], ada: Key
) -> None:
    first, second = both
    for item in both:
        claim(database, item, ada)
        pass_time(database, item.id, LEASE + 1)
    with beside_a_holder(database, of(first)) as conn:
        returned = review_sweeps.return_lapsed_claims(conn)
    assert [(item.id, item.state) for item in returned] == [(second.id, ItemState.PENDING)]
    with database.transaction() as conn:
        assert [item.id for item in review_sweeps.return_lapsed_claims(conn)] == [first.id]
