"""A label altered past the database's checks stops no sweep and no page, and lets nothing out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from storage import interactions, keys, policies, review_reads, review_sweeps, reviews
from storage.database import Database, migrate, open_database
from storage.errors import NotVouched
from storage.records import Action, ItemState, Key, ReviewItem, Role, Tier
from storage.tables import decisions, review_items
from storage.tables import keys as key_rows
from storage.tables import policies as policy_rows
from tests.storage.conftest import VAULT
from tests.storage.made import LEASE, held, key, pass_time, reread
from tests.storage.reviewing import claim, decide


@pytest.fixture
def database(empty_url: str) -> Iterator[Database]:
    """Of this test alone: its checks may go."""
    migrate(empty_url)
    opened = open_database(empty_url, VAULT)
    yield opened
    opened.close()


def alter(database: Database, table: sa.Table, row_id: str, *checks: str, **columns: str) -> None:
    """As who owns the database can, past these checks."""
    update = sa.update(table).where(table.c.id == row_id).values(columns)
    with pytest.raises(IntegrityError), database.transaction() as conn:
        conn.execute(update)
    with database.transaction() as conn:
        if database.dialect == "sqlite":
            conn.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        else:
            for check in checks:
                conn.exec_driver_sql(f"ALTER TABLE {table.name} DROP CONSTRAINT ck_{table.name}_{check}")
        assert conn.execute(update).rowcount == 1
        if database.dialect == "sqlite":
            conn.exec_driver_sql("PRAGMA ignore_check_constraints = OFF")


@pytest.fixture
def altered(database: Database, waiting: ReviewItem) -> ReviewItem:
    alter(database, review_items, waiting.id, "action_known", action="x")
    return waiting


def test_the_worker_expires_what_is_due_beside_an_altered_item(database: Database, altered, caller) -> None:
    other = held(database, caller)
    for item in (altered, other):
        pass_time(database, item.id, 90_000)
    with database.transaction() as conn:
        assert {item.id for item in review_sweeps.expire_due(conn)} == {altered.id, other.id}
    assert reread(database, other).state is ItemState.EXPIRED


def test_the_worker_returns_lapsed_claims_beside_an_altered_item(database: Database, altered, caller, ada) -> None:
    other = held(database, caller)
    for item in (altered, other):
        claim(database, item, ada)
        pass_time(database, item.id, LEASE + 1)
    with database.transaction() as conn:
        assert {item.id for item in review_sweeps.return_lapsed_claims(conn)} == {altered.id, other.id}


def test_an_altered_item_is_listed_and_granted_as_held_and_nobody_decides_it(database: Database, altered, ada) -> None:
    with database.transaction() as conn:
        (listed,) = review_reads.list_items(conn, "acme", for_reviewer=ada)
        granted, stale = reviews.claim_first(conn, [altered.id], ada, LEASE)
    assert (listed.action, stale) == (Action.HOLD, [])
    assert granted is not None
    with pytest.raises(NotVouched):
        decide(database, altered, ada, granted.fencing_token)


def test_an_altered_decision_is_read_and_lets_nothing_out(database: Database, waiting) -> None:
    with database.read() as conn:
        id_ = conn.execute(sa.select(decisions.c.id)).scalar_one()
    alter(database, decisions, id_, "action_known", action="x")
    with database.read() as conn:
        outcome = interactions.get_outcome(conn, waiting.interaction_id, "acme")
    assert outcome is not None
    assert (outcome.decision.action, outcome.released_text) == (Action.HOLD, None)


def test_an_altered_policy_holds(database: Database, ada: Key) -> None:
    alter(database, policy_rows, ada.policy.id, "below_known", "tier_known", below="x", tier="y")
    with database.read() as conn:
        found = policies.get_policy(conn, ada.policy.id, "acme")
    assert (found.below, found.tier) == (Action.HOLD, Tier.BASE)


def test_a_role_that_is_none_gives_no_right_and_hides_no_key(database: Database, ada: Key, bob: Key) -> None:
    with database.transaction() as conn:
        conn.execute(sa.update(key_rows).where(key_rows.c.id == ada.id).values(roles="owner,reviewer"))
        conn.execute(sa.update(key_rows).where(key_rows.c.id == bob.id).values(roles="owner"))
    key(database, "Cleo")
    with database.read() as conn:
        roles = {each.name: each.roles for each in keys.list_keys(conn, "acme")}
    assert roles == {"Ada": {Role.REVIEWER}, "Bob": set(), "Cleo": {Role.REVIEWER}}
