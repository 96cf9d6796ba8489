"""What an erased key asked is nobody's to decide, and no name is taken for another person's id."""

from __future__ import annotations

import pytest

from storage import erasure, review_alarms, review_reads, reviews, subjects
from storage.database import Database
from storage.errors import InvalidValue, OwnRequest
from storage.records import Key, ReviewItem, Role
from tests.storage.made import LEASE, held, key

SOMEBODY = {"user": "somebody"}


@pytest.fixture
def bob(database: Database) -> Key:
    """A reviewer; the key that he asks with is another."""
    return key(database, "Bob")


@pytest.fixture
def waiting(database: Database, bob: Key) -> ReviewItem:
    """Bob's own question in somebody's name; then who stood behind the key that asked is erased."""
    asking = key(database, "bob", Role.CALLER)
    asked = held(database, asking, params=SOMEBODY)
    with database.transaction() as conn, pytest.raises(OwnRequest):
        reviews.claim(conn, asked.id, bob, LEASE)
    with database.transaction() as conn:
        erasure.erase_subject(conn, "acme", f"key:{asking.id}", "key:admin")
    return asked


def test_what_an_erased_key_asked_may_be_anybodys_own(database: Database, bob: Key, waiting: ReviewItem) -> None:
    for reviewer in (bob, key(database, "Ada")):
        with database.transaction() as conn, pytest.raises(OwnRequest):
            reviews.claim(conn, waiting.id, reviewer, LEASE)
        with database.transaction() as conn:
            assert reviews.claim_first(conn, [waiting.id], reviewer, LEASE)[0] is None
            assert review_reads.list_items(conn, "acme", for_reviewer=reviewer) == []
            assert review_reads.barred(conn, [waiting], reviewer) == {waiting.id: OwnRequest.code}


def test_an_alarm_tells_of_what_an_erased_key_asked(database: Database, bob: Key) -> None:
    with database.read() as conn:
        assert review_alarms.without_reviewer(conn) == {}
    asking = key(database, "chat", Role.CALLER)
    held(database, asking, params=SOMEBODY)
    with database.transaction() as conn:
        assert review_alarms.without_reviewer(conn) == {}
        erasure.erase_subject(conn, "acme", f"key:{asking.id}", "key:admin")
        assert review_alarms.without_reviewer(conn) == {("acme", "arithmetic"): 1}


def test_an_id_that_is_also_a_name_finds_nobody(database: Database) -> None:
    with database.transaction() as conn:
        victim = subjects.known(conn, "acme", "victim")
        assert victim is not None
        subjects.known(conn, "acme", victim.id)  # as a version that did not refuse such names took it
        with pytest.raises(InvalidValue, match="the id of one person and the name of another"):
            erasure.erase_subject(conn, "acme", victim.id, "key:admin")
        erasure.erase_subject(conn, "acme", "victim", "key:admin")
