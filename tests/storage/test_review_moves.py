"""A move is one compare-and-set on state, version and fencing token, within the table of transitions."""

import dataclasses

import pytest
import sqlalchemy as sa

from storage import reviews
from storage.database import Database
from storage.errors import (
    AlreadyClaimed,
    AlreadyDecided,
    Conflict,
    IllegalTransition,
)
from storage.records import ItemState, ReviewItem
from storage.review_moves import move
from storage.tables import review_items
from tests.storage.made import reread
from tests.storage.reviewing import claim, events


def _change_behind(database: Database, item: ReviewItem, **columns) -> None:
    with database.transaction() as conn:
        conn.execute(sa.update(review_items).where(review_items.c.id == item.id).values(columns))


@pytest.mark.parametrize("column", ["version", "fencing_token"])
def test_a_move_of_an_item_that_changed_since_it_was_read_is_refused(database: Database, waiting, column) -> None:
    _change_behind(database, waiting, **{column: 7})
    before = events(database, waiting)
    with pytest.raises(Conflict), database.transaction() as conn:
        move(conn, waiting, ItemState.WITHDRAWN, "review.withdrawn", "system")
    assert reread(database, waiting).state is ItemState.PENDING
    assert events(database, waiting) == before


def test_a_move_from_a_state_that_is_no_more_says_what_became_of_the_item(database: Database, waiting, ada) -> None:
    claim(database, waiting, ada)
    with pytest.raises(AlreadyClaimed), database.transaction() as conn:
        move(conn, waiting, ItemState.WITHDRAWN, "review.withdrawn", "system")
    with database.transaction() as conn:
        reviews.withdraw(conn, waiting.id, "key:caller", "acme")
    with pytest.raises(AlreadyDecided), database.transaction() as conn:
        move(conn, waiting, ItemState.WITHDRAWN, "review.withdrawn", "system")


@pytest.mark.parametrize("column", ["state", "version", "fencing_token"])
def test_each_column_of_the_compare_and_set_counts(database: Database, waiting, column) -> None:
    stale = dataclasses.replace(waiting, **{column: ItemState.REFERRED if column == "state" else 9})
    with pytest.raises(Conflict), database.transaction() as conn:
        move(conn, stale, ItemState.WITHDRAWN, "review.withdrawn", "system")


def test_a_move_outside_the_table_of_transitions_is_refused(database: Database, waiting) -> None:
    with pytest.raises(IllegalTransition), database.transaction() as conn:
        move(conn, waiting, ItemState.APPROVED, "review.approved", "system")
