"""Every item ends: by its deadline, by lapses without end, and nothing that is still fine ends with it."""

import pytest

from storage import interactions, review_sweeps, reviews
from storage.database import Database
from storage.errors import (
    AlreadyDecided,
    LapsedTooOften,
    PastDeadline,
)
from storage.records import ItemState
from tests.storage.made import held, pass_time, reread
from tests.storage.reviewing import claim, decide, events


def test_an_item_past_its_deadline_expires_and_withholds(database: Database, waiting, caller, ada) -> None:
    other = held(database, caller)
    token = claim(database, waiting, ada, seconds=10 * 86_400)
    pass_time(database, waiting.id, 86_401)
    with pytest.raises(PastDeadline):
        decide(database, waiting, ada, token)
    with database.transaction() as conn:
        assert [item.id for item in review_sweeps.expire_due(conn, 10)] == [waiting.id]
        assert review_sweeps.expire_due(conn, 10) == []
        outcome = interactions.get_outcome(conn, waiting.interaction_id, "acme")
    assert (outcome.item.state, outcome.released_text) == (ItemState.EXPIRED, None)
    with pytest.raises(AlreadyDecided):
        decide(database, waiting, ada, token)
    assert events(database, waiting)[-1] == "review.expired"
    assert reread(database, other).state is ItemState.PENDING


def test_an_item_past_its_deadline_cannot_be_claimed_although_nobody_swept(database: Database, waiting, ada) -> None:
    pass_time(database, waiting.id, 86_401)
    with pytest.raises(PastDeadline):
        claim(database, waiting, ada)


def test_lapsed_claims_return_and_running_ones_stay(database: Database, waiting, caller, ada) -> None:
    running = held(database, caller)
    claim(database, waiting, ada, seconds=60)
    claim(database, running, ada, seconds=120)
    for item in (waiting, running):
        pass_time(database, item.id, 61)
    with database.transaction() as conn:
        assert [item.id for item in review_sweeps.return_lapsed_claims(conn, 10)] == [waiting.id]
    item = reread(database, waiting)
    assert (item.state, item.claimed_by, item.claim_expires_at) == (ItemState.PENDING, None, None)
    assert reread(database, running).state is ItemState.CLAIMED
    assert events(database, waiting)[-1] == "review.claim_lapsed"


def test_an_item_whose_claims_lapse_again_and_again_is_quarantined(database: Database, waiting, ada) -> None:
    states = []
    for _ in range(3):
        claim(database, waiting, ada, seconds=60)
        pass_time(database, waiting.id, 61)
        with database.transaction() as conn:
            states += [item.state for item in review_sweeps.return_lapsed_claims(conn, 10, max_lapses=3)]
    assert states == [ItemState.PENDING, ItemState.PENDING, ItemState.QUARANTINED]
    with database.read() as conn:
        assert interactions.get_outcome(conn, waiting.interaction_id, "acme").released_text is None
    assert events(database, waiting)[-1] == "review.quarantined"
    with pytest.raises(AlreadyDecided):
        claim(database, waiting, ada)


def test_a_claim_that_finds_the_last_lapse_is_refused_and_the_sweep_quarantines(
    database: Database, waiting, ada
) -> None:
    def take() -> int:
        with database.transaction() as conn:
            return reviews.claim(conn, waiting.id, ada, 60, max_lapses=2).fencing_token

    for _ in range(2):
        take()
        pass_time(database, waiting.id, 61)
    with pytest.raises(LapsedTooOften, match="lapsed 2 times"):
        take()
    with database.transaction() as conn:
        review_sweeps.return_lapsed_claims(conn, 10, max_lapses=2)
    assert events(database, waiting).count("review.quarantined") == 1
    assert reread(database, waiting).state is ItemState.QUARANTINED


def test_skipping_an_item_does_not_quarantine_it(database: Database, waiting, ada) -> None:
    for _ in range(6):
        token = claim(database, waiting, ada)
        with database.transaction() as conn:
            reviews.release_claim(conn, waiting.id, ada, token)
    assert reread(database, waiting).state is ItemState.PENDING
