"""Whatever reviewers, time and Valkey do in whatever order, items follow the model: I3, I4, I5, I6 of the design.

The model below predicts each step's outcome, success or the very error; the invariants are read back from the database.
"""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from dataclasses import dataclass, field

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, multiple, rule, run_state_machine_as_test

from storage import audit_query, interactions, review_reads, review_sweeps, reviews
from storage.audit_query import Filters
from storage.database import Database
from storage.dispatch import reconcile, relay
from storage.errors import (
    AlreadyClaimed,
    AlreadyDecided,
    Conflict,
    LapsedTooOften,
    OwnRequest,
    PastDeadline,
    ReferredBySelf,
    StaleToken,
)
from storage.records import OPEN_STATES, ItemState, Key, ReviewItem, Role, VerdictKind
from storage.review_moves import TRANSITIONS
from storage.review_queue import ReviewQueue
from tests.storage.made import held, key, pass_time
from tests.storage.reviewing import verdicts_on

_LEASE, _DAY = 60.0, 86_400.0  # seconds
_MAX_LAPSES = 2
_numbers = itertools.count()
_WITHOUT_TRANSITION = {"review.extended", "verdict.refused"}
_FINAL = {
    VerdictKind.APPROVE: ItemState.APPROVED,
    VerdictKind.EDIT: ItemState.EDITED,
    VerdictKind.REJECT: ItemState.REJECTED,
}


@dataclass
class Expected:
    """What the model thinks of one item."""

    item: ReviewItem
    asker: str
    state: ItemState = ItemState.PENDING
    token: int = 0
    holder: str | None = None
    lease: float = 0.0  # seconds left
    deadline: float = _DAY
    lapses: int = 0
    referrers: set[str] = field(default_factory=set)
    final_verdicts: int = 0

    def let_go(self) -> None:
        self.state, self.holder, self.lease = ItemState.PENDING, None, 0.0

    def lapse(self) -> None:
        self.let_go()
        self.lapses += 1
        if self.lapses >= _MAX_LAPSES:
            self.state = ItemState.QUARANTINED

    def refusal_to_claim(self, reviewer: Key) -> type[Conflict] | None:
        lapses_now = self.state is ItemState.CLAIMED and self.lease <= 0
        if self.state is ItemState.CLAIMED and not lapses_now:
            return AlreadyClaimed
        if lapses_now and self.lapses + 1 >= _MAX_LAPSES:
            return LapsedTooOften
        if self.state not in OPEN_STATES:
            return AlreadyDecided
        if self.deadline <= 0:
            return PastDeadline
        if self.asker == reviewer.id:
            return OwnRequest
        return ReferredBySelf if reviewer.id in self.referrers else None

    def refusal_to_act(self, reviewer: Key, token: int) -> type[Conflict] | None:
        if self.state not in OPEN_STATES:
            return AlreadyDecided
        if self.asker == reviewer.id:
            return OwnRequest
        if self.deadline <= 0:
            return PastDeadline
        mine = self.state is ItemState.CLAIMED and (self.holder, self.token) == (reviewer.id, token)
        return None if mine and self.lease > 0 else StaleToken


class ReviewLife(RuleBasedStateMachine):
    """Each run has a tenant of its own, so that runs share a database without meeting."""

    items = Bundle("items")

    def __init__(self, database: Database, queue: ReviewQueue, client: redis.Redis) -> None:
        super().__init__()
        self.database, self.queue, self.client = database, queue, client
        self.tenant = f"tenant{next(_numbers)}"
        self.people = [key(database, name, Role.REVIEWER, self.tenant) for name in ("Ada", "Bob", "Cleo")]
        self.caller = key(database, "chat", Role.CALLER, self.tenant)
        self.expected: list[Expected] = []

    @rule(target=items, own=st.booleans(), count=st.integers(1, 2))
    def hold(self, own: bool, count: int):
        asker = self.people[0] if own else self.caller
        made = [Expected(held(self.database, asker), asker.id) for _ in range(count)]
        self.expected += made
        return multiple(*made)

    @rule(expected=items, who=st.integers(0, 2))
    def claim(self, expected: Expected, who: int) -> None:
        reviewer, refusal = self.people[who], expected.refusal_to_claim(self.people[who])
        with self._refused(refusal), self.database.transaction() as conn:
            claimed = reviews.claim(conn, expected.item.id, reviewer, _LEASE, _MAX_LAPSES)
        if refusal is None:
            if expected.state is ItemState.CLAIMED:
                expected.lapses += 1
            assert claimed.fencing_token > expected.token  # I4
            expected.state, expected.holder = ItemState.CLAIMED, reviewer.id
            expected.token, expected.lease = claimed.fencing_token, _LEASE

    @rule(expected=items, who=st.integers(0, 2), age=st.integers(0, 2), kind=st.sampled_from(VerdictKind))
    def decide(self, expected: Expected, who: int, age: int, kind: VerdictKind) -> None:
        reviewer, token = self.people[who], expected.token - age
        content = "corrected" if kind is VerdictKind.EDIT else None
        refusal = expected.refusal_to_act(reviewer, token)
        with self._refused(refusal), self.database.transaction() as conn:
            reviews.decide(conn, expected.item.id, reviewer, token, kind, "because", content)
        if refusal is not None:
            with self.database.transaction() as conn:
                reviews.refused_verdict(conn, expected.item.id, reviewer, token, refusal.code)
        elif kind is VerdictKind.REFER:
            expected.let_go()
            expected.referrers.add(reviewer.id)
        else:
            expected.state = _FINAL[kind]
            expected.final_verdicts += 1

    @rule(expected=items, age=st.integers(0, 1))
    def decide_as_the_holder(self, expected: Expected, age: int) -> None:
        """Drawn apart, because a random person rarely is the holder."""
        holders = [number for number, person in enumerate(self.people) if person.id == expected.holder]
        if holders:
            self.decide(expected, holders[0], age, VerdictKind.REFER if expected.lapses else VerdictKind.APPROVE)

    @rule(
        expected=items,
        who=st.integers(0, 2),
        age=st.integers(0, 1),
        act=st.sampled_from(["release", "extend", "draft"]),
    )
    def use_claim(self, expected: Expected, who: int, age: int, act: str) -> None:
        reviewer, token = self.people[who], expected.token - age
        refusal, item_id = expected.refusal_to_act(reviewer, token), expected.item.id
        with self._refused(refusal), self.database.transaction() as conn:
            if act == "release":
                reviews.release_claim(conn, item_id, reviewer, token)
            elif act == "extend":
                reviews.extend_claim(conn, item_id, reviewer, token, _LEASE)
            else:
                reviews.save_draft(conn, item_id, reviewer, token, "text", "note")
        if refusal is None and act == "release":
            expected.let_go()
        elif refusal is None and act == "extend":
            expected.lease = _LEASE

    @rule(expected=items)
    def withdraw(self, expected: Expected) -> None:
        refusal = None if expected.state in OPEN_STATES else AlreadyDecided
        with self._refused(refusal), self.database.transaction() as conn:
            reviews.withdraw(conn, expected.item.id, "key:caller", self.tenant)
        if refusal is None:
            expected.state = ItemState.WITHDRAWN

    @rule(expected=items, seconds=st.sampled_from([30.0, 61.0, 61.0, 90_000.0]))
    def time_passes(self, expected: Expected, seconds: float) -> None:
        pass_time(self.database, expected.item.id, seconds)
        expected.lease -= seconds
        expected.deadline -= seconds

    @rule()
    def sweep(self) -> None:
        with self.database.transaction() as conn:
            review_sweeps.expire_due(conn, 10_000)
            review_sweeps.return_lapsed_claims(conn, 10_000, max_lapses=_MAX_LAPSES)
        for expected in self.expected:
            if expected.state in OPEN_STATES and expected.deadline <= 0:
                expected.state = ItemState.EXPIRED
            elif expected.state is ItemState.CLAIMED and expected.lease <= 0:
                expected.lapse()

    @rule(emptied=st.booleans())
    def valkey_catches_up(self, emptied: bool) -> None:
        if emptied:
            self.client.flushall()
            reconcile(self.database, self.queue)
        while relay(self.database, self.queue):
            pass
        waiting = {expected.item.id for expected in self.expected if expected.state is ItemState.PENDING}
        assert set(self.queue.most_urgent(self.tenant, 10_000)) == waiting  # I6

    def teardown(self) -> None:
        with self.database.read() as conn:
            for expected in self.expected:
                self._check(conn, expected)

    def _check(self, conn, expected: Expected) -> None:
        item = review_reads.get_item(conn, expected.item.id, self.tenant)
        assert (item.state, item.fencing_token) == (expected.state, expected.token)
        final = [kind for kind in verdicts_on(conn, item.id) if kind is not VerdictKind.REFER]
        assert len(final) == expected.final_verdicts <= 1  # I3
        events = audit_query.query(conn, self.tenant, Filters(item_id=item.id), limit=1_000)[::-1]
        moves = [e for e in events if e.kind.startswith("review.") and e.kind not in _WITHOUT_TRANSITION]
        assert [move.data["version"] for move in moves] == list(range(1, item.version + 1))  # I5
        for before, after in itertools.pairwise(moves):
            assert after.data["from"] == before.data["to"]
            assert (ItemState(after.data["from"]), ItemState(after.data["to"])) in TRANSITIONS
        tokens = [move.data["fencing_token"] for move in moves[1:]]
        assert tokens == sorted(tokens)  # I4
        released = interactions.get_outcome(conn, item.interaction_id, self.tenant).released_text
        assert released == {ItemState.APPROVED: "42", ItemState.EDITED: "corrected"}.get(expected.state)  # I2

    @staticmethod
    def _refused(refusal: type[Conflict] | None):
        return nullcontext() if refusal is None else pytest.raises(refusal)


def test_items_follow_the_model(database: Database, queue: ReviewQueue, redis_client: redis.Redis) -> None:
    run_state_machine_as_test(
        lambda: ReviewLife(database, queue, redis_client),
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
