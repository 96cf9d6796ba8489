"""Whatever reviewers, callers, time and Valkey do in whatever order, items follow the model: I2 to I6 of the design.

The model in review_model.py predicts each step's outcome, success or the very error; the invariants are read back from
the database.
"""

from __future__ import annotations

import itertools
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, multiple, rule, run_state_machine_as_test
from sqlalchemy import Connection

from storage import audit_query, interactions, keys, review_opinions, review_reads, review_sweeps, reviews
from storage.audit_query import Filters
from storage.database import Database
from storage.dispatch import reconcile, relay
from storage.errors import AlreadyDecided, Conflict
from storage.records import OPEN_STATES, AuditEvent, ItemState, Role, VerdictKind
from storage.review_moves import TRANSITIONS
from storage.review_queue import ReviewQueue
from storage.tables import drafts, verdicts
from tests.storage.made import as_if_asked, held, key, pass_time
from tests.storage.review_model import ANSWER, LEASE, MAX_LAPSES, MAX_OPINIONS, Expected, first_for

PEOPLE = {"Ada": None, "Bob": None, "Cleo": ["arithmetic"], "Dan": ["law"]}
WITHOUT_TRANSITION = {"review.extended", "verdict.refused"}
_numbers = itertools.count()
anybody = st.integers(0, len(PEOPLE) - 1)


class ReviewLife(RuleBasedStateMachine):
    """Each run has a tenant of its own, so that runs share a database without meeting."""

    items = Bundle("items")

    def __init__(self, database: Database, queue: ReviewQueue, client: redis.Redis) -> None:
        super().__init__()
        self.database, self.queue, self.client = database, queue, client
        self.tenant = f"tenant{next(_numbers)}"
        with database.transaction() as conn:
            roles = [Role.REVIEWER]
            self.people = [keys.create(conn, self.tenant, name, roles, skills=of)[0] for name, of in PEOPLE.items()]
        self.caller = key(database, "chat", Role.CALLER, self.tenant)
        self.expected: list[Expected] = []

    @rule(
        target=items,
        own=st.booleans(),
        four_eyes=st.booleans(),
        domain=st.sampled_from(["arithmetic", "arithmetic", None, "law"]),
        count=st.integers(1, 2),
    )
    def hold(self, own: bool, four_eyes: bool, domain: str | None, count: int) -> Any:
        asker = self.people[0] if own else self.caller
        made = []
        for urgency in range(count):
            item = held(self.database, asker, float(urgency))
            item = as_if_asked(self.database, item, four_eyes=four_eyes, domain=domain)
            made.append(Expected(item, asker.id, four_eyes))
        self.expected += made
        return multiple(*made)

    @rule(expected=items, who=anybody)
    def claim(self, expected: Expected, who: int) -> None:
        reviewer = self.people[who]
        refusal = expected.refusal_to_claim(reviewer)
        with self._refused(refusal), self.database.transaction() as conn:
            claimed = reviews.claim(conn, expected.item.id, reviewer, LEASE, MAX_LAPSES)
        if refusal is None:
            assert claimed.fencing_token > expected.token  # I4
            expected.claimed(reviewer, claimed.fencing_token)

    @rule(who=anybody)
    def claim_next(self, who: int) -> None:
        """Of all there is, in the order in which it was made."""
        reviewer, first = self.people[who], first_for(self.people[who], self.expected)
        with self.database.transaction() as conn:
            ids = [expected.item.id for expected in self.expected]
            claimed, stale = reviews.claim_first(conn, ids, reviewer, LEASE)
        assert (claimed and claimed.item.id) == (first and first.item.id)
        gone = {each.item.id for each in self.expected if each.state is not ItemState.PENDING or each.deadline <= 0}
        assert set(stale) <= gone
        if claimed is not None and first is not None:
            assert claimed.fencing_token > first.token  # I4
            first.claimed(reviewer, claimed.fencing_token)

    @rule(
        expected=items,
        who=anybody,
        age=st.integers(0, 2),
        kind=st.sampled_from(VerdictKind),
        text=st.sampled_from(["corrected", ANSWER]),
    )
    def decide(self, expected: Expected, who: int, age: int, kind: VerdictKind, text: str) -> None:
        reviewer, token = self.people[who], expected.token - age
        content = text if kind is VerdictKind.EDIT else None
        refusal, item_id = expected.refusal_to_act(reviewer, token), expected.item.id
        with self._refused(refusal), self.database.transaction() as conn:
            reviews.decide(conn, item_id, reviewer, token, kind, "because", content, max_opinions=MAX_OPINIONS)
        if refusal is not None:
            with self.database.transaction() as conn:
                reviews.refused_verdict(conn, item_id, reviewer, token, refusal.code)
        else:
            expected.judged(reviewer, kind, content or (ANSWER if kind is VerdictKind.APPROVE else None))

    @rule(expected=items, age=st.sampled_from([0, 0, 0, 1]), kind=st.sampled_from(VerdictKind), text=st.just(ANSWER))
    def decide_as_the_holder(self, expected: Expected, age: int, kind: VerdictKind, text: str) -> None:
        """Drawn apart, because a random person rarely is the holder."""
        for number, person in enumerate(self.people):
            if person.id == expected.holder:
                return self.decide(expected, number, age, kind, text)
        return None

    @rule(expected=items, who=anybody, kind=st.sampled_from([VerdictKind.APPROVE, VerdictKind.EDIT, VerdictKind.REFER]))
    def look_at_once(self, expected: Expected, who: int, kind: VerdictKind) -> None:
        """Claim and verdict in a row: how an item comes to several words."""
        if expected.waits_for(self.people[who]):
            self.claim(expected, who)
            self.decide(expected, who, 0, kind, ANSWER)

    @rule(expected=items, who=anybody, age=st.integers(0, 1), act=st.sampled_from(["release", "extend", "draft"]))
    def use_claim(self, expected: Expected, who: int, age: int, act: str) -> None:
        reviewer, token = self.people[who], expected.token - age
        refusal, item_id = expected.refusal_to_act(reviewer, token), expected.item.id
        with self._refused(refusal), self.database.transaction() as conn:
            if act == "release":
                reviews.release_claim(conn, item_id, reviewer, token)
            elif act == "extend":
                reviews.extend_claim(conn, item_id, reviewer, token, LEASE)
            else:
                reviews.save_draft(conn, item_id, reviewer, token, "text", "note")
        if refusal is None and act == "release":
            expected.let_go()
        elif refusal is None and act == "extend":
            expected.lease = LEASE
        elif refusal is None:
            expected.drafts.add(reviewer.id)

    @rule(expected=items)
    def withdraw(self, expected: Expected) -> None:
        refusal = None if expected.state in OPEN_STATES else AlreadyDecided
        with self._refused(refusal), self.database.transaction() as conn:
            reviews.withdraw(conn, expected.item.id, "key:caller", self.tenant)
        if refusal is None:
            expected.end(ItemState.WITHDRAWN)

    @rule(expected=items)
    def delete(self, expected: Expected) -> None:
        with self.database.transaction() as conn:
            done = interactions.delete(conn, expected.item.interaction_id, self.tenant, "key:caller")
        assert done is not expected.deleted
        if expected.state in OPEN_STATES:
            expected.end(ItemState.WITHDRAWN)
        expected.deleted, expected.released = True, None
        expected.drafts.clear()

    @rule(expected=items, seconds=st.sampled_from([30.0, 61.0, 61.0, 90_000.0]))
    def time_passes(self, expected: Expected, seconds: float) -> None:
        pass_time(self.database, expected.item.id, seconds)
        expected.lease -= seconds
        expected.deadline -= seconds

    @rule()
    def sweep(self) -> None:
        with self.database.transaction() as conn:
            review_sweeps.expire_due(conn, 10_000)
            review_sweeps.return_lapsed_claims(conn, 10_000, max_lapses=MAX_LAPSES)
        for expected in self.expected:
            if expected.state in OPEN_STATES and expected.deadline <= 0:
                expected.end(ItemState.EXPIRED)
            elif expected.state is ItemState.CLAIMED and expected.lease <= 0:
                expected.lapse()

    @rule()
    def valkey_loses_everything(self) -> None:
        self.client.flushall()

    @rule()
    def relay_once(self) -> None:
        relay(self.database, self.queue, limit=3)

    @rule()
    def valkey_catches_up(self) -> None:
        reconcile(self.database, self.queue)
        while relay(self.database, self.queue):
            pass
        waiting = [expected.item for expected in self.expected if expected.state is ItemState.PENDING]
        order = [item.id for item in sorted(waiting, key=lambda item: (item.urgency, item.id))]
        assert self.queue.most_urgent(self.tenant, 10_000) == order  # I6

    def teardown(self) -> None:
        if self.expected:
            self.valkey_catches_up()
        with self.database.read() as conn:
            for expected in self.expected:
                self._check(conn, expected)

    def _check(self, conn: Connection, expected: Expected) -> None:
        item = review_reads.get_item(conn, expected.item.id, self.tenant)
        assert item is not None
        assert (item.state, item.fencing_token) == (expected.state, expected.token)
        final = sa.select(verdicts).where(verdicts.c.item_id == item.id, verdicts.c.final)
        assert [row.reviewer_id for row in conn.execute(final)] == expected.judges[-1:]  # I3
        words = {word.reviewer_id: word.content_hash is not None for word in review_opinions.opinions(conn, item.id)}
        assert words == {person: text is not None for person, text in expected.words.items()}
        saved = conn.execute(sa.select(drafts.c.reviewer_id).where(drafts.c.item_id == item.id)).scalars()
        assert set(saved) == expected.drafts
        events = audit_query.query(conn, self.tenant, Filters(item_id=item.id), limit=1_000)[::-1]
        self._check_story(expected, item.version, events)
        outcome = interactions.get_outcome(conn, item.interaction_id, self.tenant)
        assert (outcome is None) is expected.deleted
        assert (outcome and outcome.released_text) == expected.released  # I2

    @staticmethod
    def _check_story(expected: Expected, version: int, events: list[AuditEvent]) -> None:
        """Versions and events are the same story, told once each; tokens never fall."""
        moves = [e for e in events if e.kind.startswith("review.") and e.kind not in WITHOUT_TRANSITION]
        assert [move.data["version"] for move in moves] == list(range(1, version + 1))  # I5
        for before, after in itertools.pairwise(moves):
            assert after.data["from"] == before.data["to"]
            assert (ItemState(after.data["from"]), ItemState(after.data["to"])) in TRANSITIONS
        tokens = [move.data["fencing_token"] for move in moves[1:]]
        assert tokens == sorted(tokens)  # I4
        claims = [move.data["fencing_token"] for move in moves if move.kind == "review.claimed"]
        assert claims == list(range(1, expected.token + 1))
        if expected.judges:
            told = [
                move.data[name] for move in moves[-1:] for name in ("first_reviewer", "reviewer") if name in move.data
            ]
            assert told == expected.judges
            assert len(set(told)) == 2 or not expected.four_eyes or expected.state is ItemState.REJECTED

    @staticmethod
    def _refused(refusal: type[Conflict] | None) -> AbstractContextManager[Any]:
        return nullcontext() if refusal is None else pytest.raises(refusal)


def test_items_follow_the_model(database: Database, queue: ReviewQueue, redis_client: redis.Redis) -> None:
    run_state_machine_as_test(
        lambda: ReviewLife(database, queue, redis_client),
        settings=settings(
            max_examples=30,
            stateful_step_count=30,
            deadline=None,
            phases=[Phase.reuse, Phase.generate],  # a failure is told at once: finding a shorter one takes minutes
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
