"""A verdict ends an item once, over the very bytes it releases; of two at once one wins."""

from functools import partial

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from storage import interactions, reviews
from storage.database import Database
from storage.errors import (
    AlreadyDecided,
    Conflict,
    ContentChanged,
    InvalidValue,
    ReferredBySelf,
    StaleToken,
)
from storage.records import Action, ItemState, ReviewItem, VerdictKind
from storage.storable import content_hash
from storage.tables import interactions as interactions_table
from storage.tables import verdicts
from tests.storage.made import held, record, reread
from tests.storage.reviewing import claim, decide, events, race, verdicts_on


@pytest.mark.parametrize(
    ("kind", "content", "state", "released"),
    [
        (VerdictKind.APPROVE, None, ItemState.APPROVED, "42"),
        (VerdictKind.EDIT, "forty-two", ItemState.EDITED, "forty-two"),
        (VerdictKind.REJECT, None, ItemState.REJECTED, None),
    ],
)
def test_a_verdict_ends_the_item_over_the_very_bytes_it_releases(
    database: Database, waiting, ada, kind, content, state, released
) -> None:
    item, verdict = decide(database, waiting, ada, claim(database, waiting, ada), kind, content=content)
    assert item == reread(database, waiting)
    assert (item.state, item.decided_at, item.claimed_by) == (state, verdict.created_at, ada.id)
    assert verdict.content_hash == (None if released is None else content_hash(released))
    with database.read() as conn:
        outcome = interactions.get_outcome(conn, waiting.interaction_id, "acme")
    assert (outcome.verdict, outcome.released_text) == (verdict, released)


@pytest.mark.parametrize("altered", ['{"text": "something else"}', "{}", '{"text": null}', '{"text": "\\ud800"}'])
@pytest.mark.parametrize("path", ["release", "flag", "approve"])
def test_an_answer_altered_after_its_decision_does_not_leave(
    database: Database, caller, waiting, ada, path, altered
) -> None:
    if path == "approve":
        decide(database, waiting, ada, claim(database, waiting, ada), VerdictKind.APPROVE)
        interaction_id = waiting.interaction_id
    else:
        with database.transaction() as conn:
            interaction_id = record(conn, caller, Action(path), confidence=0.9)[0].id
    assert (text_of(database, interaction_id), changed(database, interaction_id)) == ("42", False)
    with database.transaction() as conn:
        mine = interactions_table.c.id == interaction_id
        conn.execute(sa.update(interactions_table).where(mine).values(answer=altered))
    assert (text_of(database, interaction_id), changed(database, interaction_id)) == (None, True)


@pytest.mark.parametrize("altered", ["forty-three", "", None])
def test_an_edit_altered_after_its_verdict_does_not_leave(database: Database, waiting, ada, altered) -> None:
    decide(database, waiting, ada, claim(database, waiting, ada), VerdictKind.EDIT, content="forty-two")
    assert text_of(database, waiting.interaction_id) == "forty-two"
    with database.transaction() as conn:
        conn.execute(sa.update(verdicts).where(verdicts.c.item_id == waiting.id).values(content=altered))
    assert text_of(database, waiting.interaction_id) is None
    assert changed(database, waiting.interaction_id)


def text_of(database: Database, interaction_id: str) -> str | None:
    with database.read() as conn:
        return interactions.get_outcome(conn, interaction_id, "acme").released_text


def changed(database: Database, interaction_id: str) -> bool:
    with database.read() as conn:
        return interactions.get_outcome(conn, interaction_id, "acme").content_changed


def test_every_transition_of_a_review_has_its_event(database: Database, waiting, ada) -> None:
    token = claim(database, waiting, ada)
    with database.transaction() as conn:
        reviews.release_claim(conn, waiting.id, ada, token)
    decide(database, waiting, ada, claim(database, waiting, ada))
    assert events(database, waiting) == [
        "decision",
        "review.created",
        "review.claimed",
        "review.claim_released",
        "review.claimed",
        "review.approved",
    ]


def test_an_answer_whose_bytes_changed_is_not_approved(database: Database, waiting, ada) -> None:
    token = claim(database, waiting, ada)
    with database.transaction() as conn:
        forged = sa.update(interactions_table).where(interactions_table.c.id == waiting.interaction_id)
        conn.execute(forged.values(answer='{"text":"41"}'))
    with pytest.raises(ContentChanged):
        decide(database, waiting, ada, token)
    assert reread(database, waiting).state is ItemState.CLAIMED


@pytest.mark.parametrize(
    ("kind", "reason", "content", "field"),
    [
        (VerdictKind.REJECT, "  ", None, "reason"),
        (VerdictKind.EDIT, "", "text", "reason"),
        (VerdictKind.REFER, "", None, "reason"),
        (VerdictKind.EDIT, "why", None, "content"),
        (VerdictKind.EDIT, "why", " ", "content"),
        (VerdictKind.EDIT, "why", "\u200b\u2060", "content"),
        (VerdictKind.EDIT, "why", "a\x00", "content"),
        (VerdictKind.APPROVE, "", "text", "content"),
        (VerdictKind.REJECT, "\ud800", None, "reason"),
    ],
)
def test_a_verdict_that_says_too_little_or_too_much_is_refused(
    database: Database, waiting, ada, kind, reason, content, field
) -> None:
    token = claim(database, waiting, ada)
    with pytest.raises(InvalidValue, match=f"^{field}: "):
        decide(database, waiting, ada, token, kind, reason, content)
    assert reread(database, waiting).state is ItemState.CLAIMED


def test_a_verdict_without_a_claim_is_refused(database: Database, waiting, ada) -> None:
    with pytest.raises(StaleToken):
        decide(database, waiting, ada, 0)


def test_a_verdict_with_another_reviewers_token_is_refused(database: Database, waiting, ada, bob) -> None:
    token = claim(database, waiting, ada)
    with pytest.raises(StaleToken):
        decide(database, waiting, bob, token)


def test_a_second_verdict_is_refused_with_an_event(database: Database, waiting, ada) -> None:
    token = claim(database, waiting, ada)
    decide(database, waiting, ada, token)
    with pytest.raises(AlreadyDecided) as caught:
        decide(database, waiting, ada, token, VerdictKind.REJECT)
    with database.transaction() as conn:
        event = reviews.refused_verdict(conn, waiting.id, ada, token, caught.value.code)
    assert events(database, waiting)[-1] == event.kind == "verdict.refused"
    assert (event.data["why"], event.data["reviewer"], event.data["state"]) == ("already_decided", ada.id, "approved")


def test_the_database_itself_refuses_a_second_final_verdict(database: Database, waiting, ada, bob) -> None:
    decide(database, waiting, ada, claim(database, waiting, ada))
    with database.read() as conn:
        row = conn.execute(sa.select(verdicts)).mappings().one()
    forged = {**row, "id": "ver_forged", "reviewer_id": bob.id, "fencing_token": 9}
    with pytest.raises(IntegrityError), database.transaction() as conn:
        conn.execute(verdicts.insert(), forged)


def test_a_referred_item_waits_for_a_different_person(database: Database, waiting, ada, bob) -> None:
    item, verdict = decide(database, waiting, ada, claim(database, waiting, ada), VerdictKind.REFER)
    assert (item.state, item.referred_by, verdict.content_hash) == (ItemState.PENDING, ada.id, None)
    with pytest.raises(ReferredBySelf):
        claim(database, waiting, ada)
    final, _ = decide(database, waiting, bob, claim(database, waiting, bob))
    assert final.state is ItemState.APPROVED
    with database.read() as conn:
        assert verdicts_on(conn, item.id) == [VerdictKind.REFER, VerdictKind.APPROVE]
    assert events(database, waiting)[-5:-1] == [
        "review.claimed",
        "review.referred",
        "review.reopened",
        "review.claimed",
    ]


def test_of_concurrent_verdicts_one_wins_and_the_other_learns_it_was_decided(database: Database, caller, ada) -> None:
    for _ in range(10):
        waiting = held(database, caller)
        token = claim(database, waiting, ada)
        kinds = (VerdictKind.APPROVE, VerdictKind.REJECT)
        results = race(*(partial(decide, database, waiting, ada, token, kind) for kind in kinds))
        losers = [result for result in results if isinstance(result, Conflict)]
        assert [type(loser) for loser in losers] == [AlreadyDecided]
        with database.transaction() as conn:
            reviews.refused_verdict(conn, waiting.id, ada, token, losers[0].code)
            assert len(verdicts_on(conn, waiting.id)) == 1
        ended = {"review.approved", "review.rejected", "verdict.refused"}
        assert len([kind for kind in events(database, waiting) if kind in ended]) == 2


def test_of_a_verdict_and_a_withdrawal_at_once_one_wins(database: Database, caller, ada) -> None:
    def withdraw(waiting: ReviewItem):
        with database.transaction() as conn:
            return reviews.withdraw(conn, waiting.id, "key:caller", "acme")

    for _ in range(10):
        waiting = held(database, caller)
        token = claim(database, waiting, ada)
        results = race(partial(decide, database, waiting, ada, token), partial(withdraw, waiting))
        assert sum(isinstance(result, Conflict) for result in results) == 1
        ended = [kind for kind in events(database, waiting) if kind in ("review.approved", "review.withdrawn")]
        assert len(ended) == 1


def test_a_withdrawn_item_can_no_longer_be_decided(database: Database, waiting, ada) -> None:
    token = claim(database, waiting, ada)
    with database.transaction() as conn:
        assert reviews.withdraw(conn, waiting.id, "key:caller", "acme").state is ItemState.WITHDRAWN
    with pytest.raises(AlreadyDecided):
        decide(database, waiting, ada, token)
    with pytest.raises(AlreadyDecided), database.transaction() as conn:
        reviews.withdraw(conn, waiting.id, "key:caller", "acme")
