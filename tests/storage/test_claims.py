"""A claim is a lease under a token that only grows; a stale one never writes; who may not judge may not claim."""

from collections import Counter
from functools import partial

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from storage import reviews
from storage.database import Database
from storage.errors import (
    AlreadyClaimed,
    NotAReviewer,
    OwnRequest,
    ReferredBySelf,
    StaleToken,
)
from storage.records import ItemState, Role, VerdictKind
from storage.tables import review_items
from tests.storage.made import LEASE, held, key, pass_time, reread
from tests.storage.reviewing import claim, decide, events, race


def test_a_claim_is_a_lease_for_one_reviewer(database: Database, waiting, ada) -> None:
    with database.transaction() as conn:
        claimed = reviews.claim(conn, waiting.id, ada, LEASE)
    item = reread(database, waiting)
    assert claimed.item == item
    assert (item.state, item.version, item.claimed_by, item.claims) == (ItemState.CLAIMED, 2, ada.id, 1)
    assert (claimed.fencing_token, claimed.reviewer_id, claimed.expires_at) == (1, ada.id, item.claim_expires_at)


def test_a_claimed_item_cannot_be_claimed_by_another(database: Database, waiting, ada, bob) -> None:
    claim(database, waiting, ada)
    with pytest.raises(AlreadyClaimed) as caught:
        claim(database, waiting, bob)
    assert caught.value.by == ada.id


def test_fencing_tokens_only_grow(database: Database, waiting, ada, bob) -> None:
    tokens = []
    for reviewer in (ada, bob, ada):
        tokens.append(claim(database, waiting, reviewer))
        with database.transaction() as conn:
            reviews.release_claim(conn, waiting.id, reviewer, tokens[-1])
    assert tokens == [1, 2, 3]


def test_the_token_of_a_released_claim_never_writes(database: Database, waiting, ada) -> None:
    stale = claim(database, waiting, ada)
    with database.transaction() as conn:
        reviews.release_claim(conn, waiting.id, ada, stale)
    claim(database, waiting, ada)
    for act in (
        lambda conn: reviews.decide(conn, waiting.id, ada, stale, VerdictKind.APPROVE, "", None),
        lambda conn: reviews.save_draft(conn, waiting.id, ada, stale, "x", ""),
        lambda conn: reviews.extend_claim(conn, waiting.id, ada, stale, LEASE),
        lambda conn: reviews.release_claim(conn, waiting.id, ada, stale),
    ):
        with pytest.raises(StaleToken), database.transaction() as conn:
            act(conn)
    assert reread(database, waiting).state is ItemState.CLAIMED


def test_a_token_is_stale_once_its_lease_ran_out_although_nobody_swept(database: Database, waiting, ada) -> None:
    token = claim(database, waiting, ada, seconds=60)
    pass_time(database, waiting.id, 61)
    with pytest.raises(StaleToken):
        decide(database, waiting, ada, token)


def test_an_extended_lease_lasts_longer_under_the_same_token(database: Database, waiting, ada) -> None:
    token = claim(database, waiting, ada, seconds=60)
    with database.transaction() as conn:
        extended = reviews.extend_claim(conn, waiting.id, ada, token, 600)
    pass_time(database, waiting.id, 61)
    assert extended.fencing_token == token
    assert decide(database, waiting, ada, token)[0].state is ItemState.APPROVED
    assert "review.extended" in events(database, waiting)


def test_a_lapsed_claim_can_be_taken_over_at_once(database: Database, waiting, ada, bob) -> None:
    stale = claim(database, waiting, ada, seconds=60)
    pass_time(database, waiting.id, 61)
    token = claim(database, waiting, bob)
    assert token > stale
    assert events(database, waiting)[-3:] == ["review.claimed", "review.claim_lapsed", "review.claimed"]


def test_a_reviewer_may_not_judge_its_own_request(database: Database, ada) -> None:
    mine = held(database, ada)
    with pytest.raises(OwnRequest):
        claim(database, mine, ada)


def test_the_database_itself_refuses_a_claim_on_ones_own_request(database: Database, ada) -> None:
    mine = held(database, ada)
    forged = sa.update(review_items).where(review_items.c.id == mine.id)
    with pytest.raises(IntegrityError), database.transaction() as conn:
        conn.execute(forged.values(state="claimed", claimed_by=ada.id, claim_expires_at=2e9))


def test_who_referred_an_item_does_not_get_it_back_after_a_second_referral(database, waiting, ada, bob) -> None:
    for reviewer in (ada, bob):
        decide(database, waiting, reviewer, claim(database, waiting, reviewer), VerdictKind.REFER)
    with pytest.raises(ReferredBySelf):
        claim(database, waiting, ada)


def test_a_key_without_the_role_reviewer_does_not_claim(database: Database, waiting) -> None:
    auditor = key(database, "Eve", Role.AUDITOR)
    with pytest.raises(NotAReviewer):
        claim(database, waiting, auditor)


def test_drafts_survive_a_release_and_stay_with_their_reviewer(database: Database, waiting, ada, bob) -> None:
    token = claim(database, waiting, ada)
    with database.transaction() as conn:
        reviews.save_draft(conn, waiting.id, ada, token, "one", "")
        draft = reviews.save_draft(conn, waiting.id, ada, token, "two", "note")
        reviews.release_claim(conn, waiting.id, ada, token)
    with database.read() as conn:
        assert reviews.get_draft(conn, waiting.id, ada.id) == draft == reviews.get_draft(conn, waiting.id)
        assert reviews.get_draft(conn, waiting.id, bob.id) is None


def test_of_concurrent_claims_one_wins(database: Database, caller, ada, bob) -> None:
    for _ in range(10):
        waiting = held(database, caller)
        results = race(*(partial(claim, database, waiting, who) for who in (ada, bob, ada, bob)))
        assert Counter(type(result) for result in results) == {int: 1, AlreadyClaimed: 3}
        assert events(database, waiting).count("review.claimed") == 1
