"""A reviewer claims, drafts and decides; of two at once one wins, and a stale token never writes."""

import dataclasses
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from storage import audit_log, interactions, reviews
from storage.database import Database
from storage.errors import (
    AlreadyClaimed,
    AlreadyDecided,
    Conflict,
    ContentChanged,
    IllegalTransition,
    InvalidValue,
    NotAReviewer,
    NotFound,
    OwnRequest,
    PastDeadline,
    ReferredBySelf,
    StaleToken,
)
from storage.records import ItemState, Key, ReviewItem, Role, VerdictKind
from storage.review_moves import move
from storage.storable import content_hash
from storage.tables import interactions as interactions_table
from storage.tables import review_items, verdicts
from tests.storage.made import LEASE, held, key, pass_time, reread


@pytest.fixture
def caller(database: Database) -> Key:
    return key(database, "chat", Role.CALLER)


@pytest.fixture
def ada(database: Database) -> Key:
    return key(database, "Ada")


@pytest.fixture
def bob(database: Database) -> Key:
    return key(database, "Bob")


@pytest.fixture
def waiting(database: Database, caller: Key) -> ReviewItem:
    return held(database, caller)


def claim(database: Database, item: ReviewItem, reviewer: Key, seconds: float = LEASE) -> int:
    with database.transaction() as conn:
        return reviews.claim(conn, item.id, reviewer, seconds).fencing_token


def decide(database, item, reviewer, token, kind=VerdictKind.APPROVE, reason="because", content=None):
    with database.transaction() as conn:
        return reviews.decide(conn, item.id, reviewer, token, kind, reason, content)


def events(database: Database, item: ReviewItem) -> list[str]:
    with database.read() as conn:
        return [event.kind for event in reversed(audit_log.query(conn, item.tenant, item_id=item.id, limit=100))]


def test_a_claim_is_a_lease_for_one_reviewer(database: Database, waiting, ada) -> None:
    with database.transaction() as conn:
        claimed = reviews.claim(conn, waiting.id, ada, LEASE)
    item = reread(database, waiting)
    assert claimed.item == item
    assert (item.state, item.version, item.claimed_by, item.claims) == (ItemState.CLAIMED, 2, ada.id, 1)
    assert (claimed.fencing_token, claimed.reviewer_id, claimed.expires_at) == (1, ada.id, item.claim_expires_at)
    with database.read() as conn:
        assert [held_item.id for held_item in reviews.held_by(conn, ada.id, "acme")] == [waiting.id]


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


def test_a_reviewer_may_not_judge_its_own_request(database: Database, ada) -> None:
    mine = held(database, ada)
    with pytest.raises(OwnRequest):
        claim(database, mine, ada)


def test_the_database_itself_refuses_a_claim_on_ones_own_request(database: Database, ada) -> None:
    mine = held(database, ada)
    forged = sa.update(review_items).where(review_items.c.id == mine.id)
    with pytest.raises(IntegrityError), database.transaction() as conn:
        conn.execute(forged.values(state="claimed", claimed_by=ada.id, claim_expires_at=2e9))


def test_a_referred_item_waits_for_a_different_person(database: Database, waiting, ada, bob) -> None:
    item, verdict = decide(database, waiting, ada, claim(database, waiting, ada), VerdictKind.REFER)
    assert (item.state, item.referred_by, verdict.content_hash) == (ItemState.PENDING, ada.id, None)
    with pytest.raises(ReferredBySelf):
        claim(database, waiting, ada)
    final, _ = decide(database, waiting, bob, claim(database, waiting, bob))
    assert final.state is ItemState.APPROVED
    with database.read() as conn:
        assert [v.kind for v in reviews.verdicts_of(conn, item.id, "acme")] == [VerdictKind.REFER, VerdictKind.APPROVE]
    assert events(database, waiting)[-5:-1] == [
        "review.claimed",
        "review.referred",
        "review.reopened",
        "review.claimed",
    ]


def test_who_referred_an_item_does_not_get_it_back_after_a_second_referral(database, waiting, ada, bob) -> None:
    for reviewer in (ada, bob):
        decide(database, waiting, reviewer, claim(database, waiting, reviewer), VerdictKind.REFER)
    with pytest.raises(ReferredBySelf):
        claim(database, waiting, ada)


def test_a_key_without_the_role_reviewer_does_not_claim(database: Database, waiting) -> None:
    auditor = key(database, "Eve", Role.AUDITOR)
    with pytest.raises(NotAReviewer):
        claim(database, waiting, auditor)


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
        assert reviews.get_item(conn, waiting.id, "rival") is None
        assert reviews.get_items(conn, [waiting.id], "rival") == []
        assert reviews.list_items(conn, "rival", states=ItemState) == []
        assert reviews.counts(conn, "rival")["pending"] == 0
    assert reread(database, waiting) == waiting


def test_drafts_survive_a_release_and_stay_with_their_reviewer(database: Database, waiting, ada, bob) -> None:
    token = claim(database, waiting, ada)
    with database.transaction() as conn:
        reviews.save_draft(conn, waiting.id, ada, token, "one", "")
        draft = reviews.save_draft(conn, waiting.id, ada, token, "two", "note")
        reviews.release_claim(conn, waiting.id, ada, token)
    with database.read() as conn:
        assert reviews.get_draft(conn, waiting.id, ada.id) == draft == reviews.get_draft(conn, waiting.id)
        assert reviews.get_draft(conn, waiting.id, bob.id) is None


def test_a_withdrawn_item_can_no_longer_be_decided(database: Database, waiting, ada) -> None:
    token = claim(database, waiting, ada)
    with database.transaction() as conn:
        assert reviews.withdraw(conn, waiting.id, "key:caller", "acme").state is ItemState.WITHDRAWN
    with pytest.raises(AlreadyDecided):
        decide(database, waiting, ada, token)
    with pytest.raises(AlreadyDecided), database.transaction() as conn:
        reviews.withdraw(conn, waiting.id, "key:caller", "acme")


def test_an_item_past_its_deadline_expires_and_withholds(database: Database, waiting, caller, ada) -> None:
    other = held(database, caller)
    token = claim(database, waiting, ada, seconds=10 * 86_400)
    pass_time(database, waiting.id, 86_401)
    with pytest.raises(PastDeadline):
        decide(database, waiting, ada, token)
    with database.transaction() as conn:
        assert [item.id for item in reviews.expire_due(conn, 10)] == [waiting.id]
        assert reviews.expire_due(conn, 10) == []
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
        assert [item.id for item in reviews.return_lapsed_claims(conn, 10)] == [waiting.id]
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
            states += [item.state for item in reviews.return_lapsed_claims(conn, 10, max_claims=3)]
    assert states == [ItemState.PENDING, ItemState.PENDING, ItemState.QUARANTINED]
    with database.read() as conn:
        assert interactions.get_outcome(conn, waiting.interaction_id, "acme").released_text is None
    assert events(database, waiting)[-1] == "review.quarantined"
    with pytest.raises(AlreadyDecided):
        claim(database, waiting, ada)


def test_skipping_an_item_does_not_quarantine_it(database: Database, waiting, ada) -> None:
    for _ in range(6):
        token = claim(database, waiting, ada)
        with database.transaction() as conn:
            reviews.release_claim(conn, waiting.id, ada, token)
    assert reread(database, waiting).state is ItemState.PENDING


def test_the_list_is_in_order_of_urgency_and_pages_completely(database: Database, caller) -> None:
    made = [held(database, caller, urgency=float(n % 4)) for n in range(9)]
    wanted = [item.id for item in sorted(made, key=lambda item: (item.urgency, item.id))]
    found: list[ReviewItem] = []
    with database.read() as conn:
        while page := reviews.list_items(conn, "acme", after=reviews.cursor_of(found[-1]) if found else None, limit=4):
            found += page
        assert [item.id for item in found] == wanted
        assert [item.id for item in reviews.get_items(conn, wanted[::-1], "acme")] == wanted[::-1]
        with pytest.raises(InvalidValue, match="after"):
            reviews.list_items(conn, "acme", after="not-a-cursor")


def test_counts_name_every_state(database: Database, waiting, caller, ada) -> None:
    claim(database, held(database, caller), ada)
    with database.read() as conn:
        found = reviews.counts(conn, "acme")
        assert reviews.counts(conn, None) == found
        assert reviews.oldest_waiting(conn, "acme") == reviews.oldest_waiting(conn, None) == waiting.created_at
    assert set(found) == {state.value for state in ItemState}
    assert (found["pending"], found["claimed"]) == (1, 1)


def _race(*actions):
    """What each action returned or the Conflict it raised, all let go at the same moment."""
    ready = Barrier(len(actions))

    def run(action):
        ready.wait()
        try:
            return action()
        except Conflict as conflict:
            return conflict

    with ThreadPoolExecutor(len(actions)) as pool:
        return [future.result() for future in [pool.submit(run, action) for action in actions]]


def test_of_concurrent_claims_one_wins(database: Database, caller, ada, bob) -> None:
    for _ in range(10):
        waiting = held(database, caller)
        results = _race(*(partial(claim, database, waiting, who) for who in (ada, bob, ada, bob)))
        assert Counter(type(result) for result in results) == {int: 1, AlreadyClaimed: 3}
        assert events(database, waiting).count("review.claimed") == 1


def test_of_concurrent_verdicts_one_wins_and_the_other_learns_it_was_decided(database: Database, caller, ada) -> None:
    for _ in range(10):
        waiting = held(database, caller)
        token = claim(database, waiting, ada)
        kinds = (VerdictKind.APPROVE, VerdictKind.REJECT)
        results = _race(*(partial(decide, database, waiting, ada, token, kind) for kind in kinds))
        losers = [result for result in results if isinstance(result, Conflict)]
        assert [type(loser) for loser in losers] == [AlreadyDecided]
        with database.transaction() as conn:
            reviews.refused_verdict(conn, waiting.id, ada, token, losers[0].code)
            assert len(reviews.verdicts_of(conn, waiting.id, "acme")) == 1
        ended = {"review.approved", "review.rejected", "verdict.refused"}
        assert len([kind for kind in events(database, waiting) if kind in ended]) == 2


def test_of_a_verdict_and_a_withdrawal_at_once_one_wins(database: Database, caller, ada) -> None:
    def withdraw(waiting: ReviewItem):
        with database.transaction() as conn:
            return reviews.withdraw(conn, waiting.id, "key:caller", "acme")

    for _ in range(10):
        waiting = held(database, caller)
        token = claim(database, waiting, ada)
        results = _race(partial(decide, database, waiting, ada, token), partial(withdraw, waiting))
        assert sum(isinstance(result, Conflict) for result in results) == 1
        ended = [kind for kind in events(database, waiting) if kind in ("review.approved", "review.withdrawn")]
        assert len(ended) == 1


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
