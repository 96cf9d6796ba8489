"""Items are listed by urgency, counted by state, and never found by another tenant."""

import pytest

from storage import review_reads, reviews
from storage.database import Database
from storage.errors import (
    InvalidValue,
    NotFound,
)
from storage.records import ItemState, ReviewItem, Role, VerdictKind
from tests.storage.made import LEASE, held, key, reread
from tests.storage.reviewing import claim


def test_another_tenants_item_is_not_found(database: Database, waiting) -> None:
    stranger = key(database, "Mallory", Role.ADMIN, tenant="rival")
    for act in (
        lambda conn: reviews.claim(conn, waiting.id, stranger, LEASE),
        lambda conn: reviews.decide(conn, waiting.id, stranger, 1, VerdictKind.APPROVE, "", None),
        lambda conn: reviews.save_draft(conn, waiting.id, stranger, 1, "", ""),
        lambda conn: reviews.extend_claim(conn, waiting.id, stranger, 1, LEASE),
        lambda conn: reviews.release_claim(conn, waiting.id, stranger, 1),
        lambda conn: reviews.refused_verdict(conn, waiting.id, stranger, 1, "why"),
        lambda conn: reviews.withdraw(conn, waiting.id, "key:x", "rival"),
    ):
        with pytest.raises(NotFound), database.transaction() as conn:
            act(conn)
    with database.read() as conn:
        assert review_reads.get_item(conn, waiting.id, "rival") is None
        assert review_reads.get_items(conn, [waiting.id], "rival") == []
        assert review_reads.list_items(conn, "rival", states=ItemState) == []
        assert review_reads.counts(conn, "rival")["pending"] == 0
    assert reread(database, waiting) == waiting


def test_the_list_is_in_order_of_urgency_and_pages_completely(database: Database, caller) -> None:
    made = [held(database, caller, urgency=float(n % 4)) for n in range(9)]
    wanted = [item.id for item in sorted(made, key=lambda item: (item.urgency, item.id))]
    found: list[ReviewItem] = []
    with database.read() as conn:
        while page := review_reads.list_items(
            conn, "acme", after=review_reads.cursor_of(found[-1]) if found else None, limit=4
        ):
            found += page
        assert [item.id for item in found] == wanted
        assert [item.id for item in review_reads.get_items(conn, wanted[::-1], "acme")] == wanted[::-1]
        with pytest.raises(InvalidValue, match="after"):
            review_reads.list_items(conn, "acme", after="not-a-cursor")


def test_counts_name_every_state(database: Database, waiting, caller, ada) -> None:
    claim(database, held(database, caller), ada)
    with database.read() as conn:
        found = review_reads.counts(conn, "acme")
        assert review_reads.counts(conn, None) == found
        assert (
            review_reads.oldest_waiting(conn, "acme") == review_reads.oldest_waiting(conn, None) == waiting.created_at
        )
    assert set(found) == {state.value for state in ItemState}
    assert (found["pending"], found["claimed"]) == (1, 1)


def test_ended_are_those_that_no_word_is_to_come_on_whosever_they_are(
    database: Database, caller, waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review_reads, "_PAGE", 2)
    ada, theirs = key(database, "Ada"), held(database, key(database, "chat", Role.CALLER, tenant="rival"))
    claimed, approved = held(database, caller), held(database, caller)
    claim(database, claimed, ada)
    token = claim(database, approved, ada)
    with database.transaction() as conn:
        reviews.decide(conn, approved.id, ada, token, VerdictKind.APPROVE, "", None)
        reviews.withdraw(conn, theirs.id, "key:x", "rival")
    ids = [each.interaction_id for each in (waiting, claimed, approved, theirs)]
    with database.read() as conn:
        assert review_reads.ended_among(conn, [*ids, "chatcmpl-none"]) == {*ids[2:], "chatcmpl-none"}
        assert review_reads.ended_among(conn, []) == set()
