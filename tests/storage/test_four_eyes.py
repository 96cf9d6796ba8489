"""Where four eyes are asked for, a text is released only after two people stood up for that very text."""

import dataclasses

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from storage import audit_query, erasure, interactions, review_guards, review_opinions, review_reads, reviews, subjects
from storage.audit_query import Filters
from storage.database import Database
from storage.errors import ReferredBySelf
from storage.records import ItemState, Key, ReviewItem, Role, VerdictKind
from storage.storable import content_hash
from storage.tables import review_items, verdicts
from tests.storage.made import as_if_asked, held, key
from tests.storage.reviewing import claim, events

APPROVE, EDIT, REJECT, REFER = VerdictKind.APPROVE, VerdictKind.EDIT, VerdictKind.REJECT, VerdictKind.REFER


@pytest.fixture
def watched(database: Database, caller: Key) -> ReviewItem:
    """An item that two people must agree on."""
    return as_if_asked(database, held(database, caller), four_eyes=True)


def say(database: Database, item: ReviewItem, who: Key, kind: VerdictKind, content: str | None = None, most: int = 5):
    token = claim(database, item, who)
    with database.transaction() as conn:
        return reviews.decide(conn, item.id, who, token, kind, "because", content, max_opinions=most)


def released(database: Database, item: ReviewItem) -> str | None:
    with database.read() as conn:
        return interactions.get_outcome(conn, item.interaction_id, "acme").released_text


@pytest.mark.parametrize(
    ("first", "second", "state", "text"),
    [
        ((APPROVE, None), (APPROVE, None), ItemState.APPROVED, "42"),
        ((EDIT, "forty-two"), (EDIT, "forty-two"), ItemState.EDITED, "forty-two"),
        ((EDIT, "42"), (APPROVE, None), ItemState.APPROVED, "42"),
        ((APPROVE, None), (EDIT, "42"), ItemState.EDITED, "42"),
        ((APPROVE, None), (EDIT, "43"), ItemState.PENDING, None),
        ((EDIT, "43"), (APPROVE, None), ItemState.PENDING, None),
        ((EDIT, "43"), (EDIT, "44"), ItemState.PENDING, None),
        ((REFER, None), (APPROVE, None), ItemState.PENDING, None),
        ((APPROVE, None), (REJECT, None), ItemState.REJECTED, None),
    ],
)
def test_a_text_is_released_when_a_second_person_stands_up_for_it(
    database: Database, watched, ada, bob, first, second, state, text
) -> None:
    item, word = say(database, watched, ada, *first)
    assert (item.state, item.referred_by, word.final) == (ItemState.PENDING, ada.id, False)
    assert released(database, watched) is None
    item, word = say(database, watched, bob, *second)
    assert (item.state, word.final) == (state, state is not ItemState.PENDING)
    assert released(database, watched) == text


def test_a_rejection_needs_no_second_person(database: Database, watched, ada) -> None:
    assert say(database, watched, ada, REJECT)[0].state is ItemState.REJECTED


def test_the_third_agrees_with_whichever_text_is_right(database: Database, watched, ada, bob) -> None:
    cleo = key(database, "Cleo")
    say(database, watched, ada, EDIT, "43")
    say(database, watched, bob, EDIT, "44")
    item, verdict = say(database, watched, cleo, EDIT, "43")
    assert (item.state, verdict.final, released(database, watched)) == (ItemState.EDITED, True, "43")
    with database.read() as conn:
        assert [(word.reviewer_id, word.content) for word in review_opinions.opinions(conn, watched.id)] == [
            (ada.id, "43"),
            (bob.id, "44"),
        ]
        (event,) = audit_query.query(conn, "acme", Filters(kinds=["review.edited"]))
    assert (event.data["first_reviewer"], event.data["reviewer"]) == (ada.id, cleo.id)


def test_the_first_word_is_told_as_a_referral_with_its_verdict(database: Database, watched, ada, bob) -> None:
    say(database, watched, ada, APPROVE)
    with database.read() as conn:
        (event,) = audit_query.query(conn, "acme", Filters(kinds=["review.referred"]))
    assert (event.data["verdict"], event.data["reviewer"]) == ("approve", ada.id)
    assert events(database, watched)[-3:] == ["review.claimed", "review.referred", "review.reopened"]
    say(database, watched, bob, APPROVE)
    assert events(database, watched)[-2:] == ["review.claimed", "review.approved"]


def test_one_person_cannot_be_both(database: Database, watched, ada) -> None:
    say(database, watched, ada, APPROVE)
    with pytest.raises(ReferredBySelf):
        claim(database, watched, ada)


def test_the_database_itself_refuses_a_second_word_of_the_same_person(database: Database, watched, ada) -> None:
    _, word = say(database, watched, ada, APPROVE)
    row = {**dataclasses.asdict(word), "kind": "approve", "tenant": "acme", "content_hash": content_hash("42")}
    forged = {**row, "id": "ver_forged", "fencing_token": 9, "final": True}
    with pytest.raises(IntegrityError), database.transaction() as conn:
        conn.execute(verdicts.insert(), forged)


def test_the_database_itself_refuses_the_first_persons_second_claim(database: Database, watched, ada) -> None:
    say(database, watched, ada, APPROVE)
    forged = sa.update(review_items).where(review_items.c.id == watched.id)
    with pytest.raises(IntegrityError), database.transaction() as conn:
        conn.execute(forged.values(state="claimed", claimed_by=ada.id, claim_expires_at=2e9))


@pytest.mark.parametrize("words", [((REFER, None), (REFER, None)), ((EDIT, "43"), (EDIT, "44"))])
def test_an_item_that_people_only_pass_on_or_disagree_over_is_quarantined(
    database: Database, watched, ada, bob, words
) -> None:
    assert say(database, watched, ada, *words[0], most=2)[0].state is ItemState.PENDING
    item, verdict = say(database, watched, bob, *words[1], most=2)
    assert (item.state, verdict.final) == (ItemState.QUARANTINED, False)
    assert item.decided_at is not None
    assert released(database, watched) is None
    assert events(database, watched)[-2:] == ["review.referred", "review.quarantined"]


def test_a_word_that_ends_the_item_counts_whatever_the_bound(database: Database, watched, ada, bob) -> None:
    say(database, watched, ada, APPROVE, most=2)
    assert say(database, watched, bob, APPROVE, most=2)[0].state is ItemState.APPROVED


def test_an_admin_may_be_the_second_person(database: Database, watched, ada) -> None:
    root = key(database, "root", Role.ADMIN)
    say(database, watched, ada, APPROVE)
    assert say(database, watched, root, APPROVE)[0].state is ItemState.APPROVED


@pytest.mark.parametrize("name", ["Ada", " ada ", "\u3000ADA", "Ad\u200da\u00a0"])
def test_two_keys_of_one_name_are_one_person(database: Database, watched, ada, bob, name: str) -> None:
    again, rival = key(database, name), key(database, "Ada", tenant="rival")
    say(database, watched, ada, APPROVE)
    with pytest.raises(ReferredBySelf):
        claim(database, watched, again)
    with database.transaction() as conn:
        assert reviews.claim_first(conn, [watched.id], again, 60.0) == (None, [])
        item = review_reads.get_item(conn, watched.id, "acme")
        assert review_reads.barred(conn, [item], again) == {item.id: "referred_by_self"}
        assert review_reads.barred(conn, [item], bob) == {}
        assert review_guards.keys_that_may_be(conn, again) == {ada.id, again.id}
        assert review_guards.keys_that_may_be(conn, rival) == {rival.id}
    assert say(database, watched, bob, APPROVE)[0].state is ItemState.APPROVED


def test_an_erased_persons_word_agrees_with_nobodys(database: Database, watched, ada, bob) -> None:
    say(database, watched, ada, APPROVE)
    with database.transaction() as conn:
        erasure.erase_subject(conn, "acme", subjects.name_of_key(ada.id), "system")
    item, word = say(database, watched, key(database, "Ada"), APPROVE)  # the same person, which nobody can tell
    assert (item.state, word.final, released(database, watched)) == (ItemState.PENDING, False, None)
    assert say(database, watched, bob, APPROVE)[0].state is ItemState.APPROVED


def test_an_erased_key_that_still_decides_is_no_second_person(database: Database, watched, ada, bob) -> None:
    say(database, watched, ada, APPROVE)
    with database.transaction() as conn:
        erasure.erase_subject(conn, "acme", subjects.name_of_key(bob.id), "system")
    assert say(database, watched, bob, APPROVE)[0].state is ItemState.PENDING
    assert say(database, watched, key(database, "Cleo"), APPROVE)[0].state is ItemState.APPROVED
