"""Keys whose names read alike are one person, who neither decides their own question nor agrees with themselves."""

import pytest
import sqlalchemy as sa

from storage import review_alarms, review_reads, reviews
from storage.database import Database
from storage.errors import OwnRequest
from storage.persons import folded, same_person
from storage.records import ItemState, Key, Role, VerdictKind
from storage.tables import keys, review_items
from tests.storage.made import LEASE, as_if_asked, held, key
from tests.storage.reviewing import claim, decide

ALIKE = [
    ("Émile", "émile"), ("Ada", "Ada\u00a0"), ("Ada", "A\u200dda"), ("İlk", "ilk"), ("IŞIK", "ışık"),
    ("Straße", "STRASSE"), ("e\u0301va", "\u00e9va"), ("Ada  Lee", "Ada Lee"), ("Ada\tLee", "Ada Lee"),
    ("Ada", "\u3000Ada"), ("Ada", "ＡＤＡ"), ("ﬁona", "Fiona"), ("ΣΟΦΟΣ", "σοφος"), ("Ada", "Ada\ufe0f"),
    ("e\u200d\u0301va", "éva"), ("Ada", "Ad\u00ada"), ("Ada", "Ada\u3164"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_names_that_read_alike_are_one_persons(one: str, other: str) -> None:
    assert same_person(one, other)
    assert same_person(other, one)
    assert folded(folded(one)) == folded(one)


@pytest.mark.parametrize("other", ["Adam", "A da", "Áda", "Ada 2", "Аda", "", None])
def test_other_names_are_other_peoples(other: str | None) -> None:
    assert not same_person(other, "Ada")


@pytest.fixture(params=[("same person", "Same person"), ("émile", "Émile\u00a0")])
def person(request: pytest.FixtureRequest, database: Database) -> tuple[Key, Key]:
    """One person's key that asks, and the one that reviews."""
    asks, reviews_with = request.param
    return key(database, asks, Role.CALLER), key(database, reviews_with)


def test_nobody_claims_what_they_asked_with_another_key(database: Database, person, ada) -> None:
    asks, again = person
    own = held(database, asks)
    with pytest.raises(OwnRequest):
        claim(database, own, again)
    with database.transaction() as conn:
        assert reviews.claim_first(conn, [own.id], again, LEASE) == (None, [])
        assert review_reads.list_items(conn, "acme", for_reviewer=again) == []
        assert review_reads.get_items(conn, [own.id], "acme", for_reviewer=again) == []
        (item,) = review_reads.list_items(conn, "acme")
        assert review_reads.barred(conn, [item], again) == {own.id: "own_request"}
        assert review_reads.barred(conn, [item], ada) == {}
        granted, _ = reviews.claim_first(conn, [own.id], ada, LEASE)
    assert granted is not None


def test_a_namesake_of_another_tenant_is_somebody_else(database: Database, person) -> None:
    own, rival = held(database, key(database, "Ann", Role.CALLER)), key(database, "Ann", tenant="rival")
    theirs = held(database, key(database, "ann", Role.CALLER, tenant="rival"))
    with pytest.raises(OwnRequest):
        claim(database, theirs, rival)
    assert claim(database, own, person[1]) == 1


@pytest.mark.parametrize(
    "act",
    [
        lambda conn, item, who: reviews.decide(conn, item, who, 1, VerdictKind.APPROVE, "", None),
        lambda conn, item, who: reviews.save_draft(conn, item, who, 1, "x", ""),
        lambda conn, item, who: reviews.extend_claim(conn, item, who, 1, LEASE),
    ],
    ids=["decide", "draft", "extend"],
)
def test_a_claim_that_was_granted_past_the_program_is_of_no_use_on_ones_own_question(database, person, act) -> None:
    asks, again = person
    own = held(database, asks)
    claimed = {"state": "claimed", "claimed_by": again.id, "claim_expires_at": 4e9, "fencing_token": 1}
    with database.transaction() as conn:
        conn.execute(sa.update(review_items).where(review_items.c.id == own.id).values(claimed))
    with pytest.raises(OwnRequest), database.transaction() as conn:
        act(conn, own.id, again)


def test_a_second_key_that_got_the_claim_past_the_program_agrees_with_nobody(database: Database, caller, ada) -> None:
    watched, again = as_if_asked(database, held(database, caller), four_eyes=True), key(database, "ADA")
    decide(database, watched, ada, claim(database, watched, ada))
    claimed = {"state": "claimed", "claimed_by": again.id, "claim_expires_at": 4e9, "fencing_token": 2}
    with database.transaction() as conn:
        conn.execute(sa.update(review_items).where(review_items.c.id == watched.id).values(claimed))
    item, word = decide(database, watched, again, 2)
    assert (item.state, word.final) == (ItemState.PENDING, False)


def test_an_item_for_which_only_the_asker_is_there_raises_the_alarm(database: Database, person) -> None:
    own = held(database, person[0])
    with database.read() as conn:
        assert review_alarms.without_reviewer(conn) == {("acme", own.domain): 1}
    eve = key(database, "Eve")
    with database.read() as conn:
        assert review_alarms.without_reviewer(conn) == {}
    decide(database, own, eve, claim(database, own, eve), VerdictKind.REFER)
    key(database, "EVE")
    with database.read() as conn:
        assert review_alarms.without_reviewer(conn) == {("acme", own.domain): 1}


def test_a_key_that_is_no_longer_there_is_nobodys_namesake(database: Database, caller, ada) -> None:
    own = held(database, caller)
    with database.transaction() as conn:
        conn.execute(sa.delete(keys).where(keys.c.id == caller.id))
    assert claim(database, own, ada) == 1
