"""An interaction, its decision and its review item are recorded together, found by their tenant only, and erased."""

import dataclasses

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from storage import audit_query, interactions, outbox, recording, review_reads, reviews, subjects
from storage.audit_query import Filters
from storage.audit_tables import audit_events
from storage.database import Database
from storage.errors import InvalidValue, NotFound
from storage.records import Action, ItemState, VerdictKind
from storage.tables import decisions, drafts, review_items, verdicts
from storage.tables import interactions as table
from tests.storage.made import LEASE, decision, held, interaction, item, key, notes_in, record


def _kinds(database: Database, interaction_id: str) -> list[str]:
    with database.read() as conn:
        return sorted(e.kind for e in audit_query.query(conn, "acme", Filters(interaction_id=interaction_id)))


def test_what_was_recorded_comes_back_unchanged(database: Database, caller) -> None:
    asked = interaction(caller, "né ✓\n\u202e", metadata={"a": "b"}, traceparent="00-aa-bb-01", confidence=0.1 + 0.2)
    decided, waiting = decision(asked), item(asked, 1_000.0, 1_795_000_000.123456)
    with database.transaction() as conn:
        recording.record(conn, asked, decided, waiting)
    with database.read() as conn:
        outcome = interactions.get_outcome(conn, asked.id, "acme")
    assert outcome is not None
    assert outcome.interaction == dataclasses.replace(asked, subject=outcome.interaction.subject)
    assert (outcome.decision, outcome.item, outcome.verdict) == (decided, waiting, None)
    assert outcome.released_text is None


def test_a_held_answer_has_three_events_and_a_note_to_the_queue(database: Database, caller) -> None:
    waiting = held(database, caller)
    assert _kinds(database, waiting.interaction_id) == ["decision", "interaction.recorded", "review.created"]
    with database.transaction() as conn:
        notes = outbox.take(conn, 10)
    assert [(note.topic, note.payload) for note in notes] == [
        ("review.enqueue", {"item_id": waiting.id, "tenant": "acme"})
    ]


def test_a_released_answer_has_no_item_and_no_note(database: Database, caller) -> None:
    with database.transaction() as conn:
        asked, _ = record(conn, caller, Action.RELEASE, confidence=0.9)
        assert interactions.get_outcome(conn, asked.id, "acme").released_text == "42"
        assert notes_in(conn) == 0
    assert _kinds(database, asked.id) == ["decision", "interaction.recorded"]


def test_the_decision_event_says_what_an_auditor_asks(database: Database, caller) -> None:
    waiting = held(database, caller)
    with database.read() as conn:
        (event,) = audit_query.query(conn, "acme", Filters(kinds=["decision"]))
    assert event.interaction_id == waiting.interaction_id
    assert event.actor == f"key:{caller.id}"
    wanted = {"action", "reason", "confidence", "threshold", "calibration", "policy_id", "policy_version", "model"}
    assert wanted | {"served_model", "key_id", "domain", "finish_reason"} <= set(event.data)


def test_what_tells_who_asked_or_what_was_said_is_private_to_its_subject(database: Database, caller) -> None:
    params = {"user": "ada@example.org", "temperature": 0.0}
    with database.transaction() as conn:
        asked, _ = record(conn, caller, params=params, metadata={"ward": "7"})
    with database.read() as conn:
        events = subjects.revealed(conn, audit_query.query(conn, "acme", Filters(interaction_id=asked.id)))
        facts = {event.kind: event.private for event in events}
        subject = subjects.find(conn, "acme", "ada@example.org")
        outcome = interactions.get_outcome(conn, asked.id, "acme")
        stored = conn.execute(sa.select(audit_events.c.data)).scalars().all()
    assert facts["interaction.recorded"] == {
        "content_hash": asked.content_hash,
        "request_id": asked.request_id,
        "user": "ada@example.org",
        "metadata": {"ward": "7"},
    }
    assert facts["decision"] == {"content_hash": asked.content_hash}
    assert facts["review.created"] is None
    assert outcome is not None
    assert outcome.interaction.subject == subject is not None
    assert not [text for text in stored if "ada@" in text or asked.content_hash in text or asked.request_id in text]


@pytest.mark.parametrize(
    ("params", "name"),
    [({"user": "u", "safety_identifier": "s"}, "s"), ({"user": "u"}, "u"), ({"user": ""}, None), ({}, None)],
)
def test_the_subject_is_who_the_request_names_else_its_key(database: Database, caller, params, name) -> None:
    with database.transaction() as conn:
        asked, _ = record(conn, caller, params=params)
        outcome = interactions.get_outcome(conn, asked.id, "acme")
        assert outcome is not None
        assert outcome.interaction.subject == subjects.find(conn, "acme", name or f"key:{caller.id}") is not None


def test_the_same_interaction_cannot_be_recorded_twice(database: Database, caller) -> None:
    asked = interaction(caller)
    with database.transaction() as conn:
        recording.record(conn, asked, decision(asked), item(asked, 1.0))
    with pytest.raises(IntegrityError), database.transaction() as conn:
        recording.record(conn, asked, decision(asked), item(asked, 1.0))
    assert len(_kinds(database, asked.id)) == 3


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"content_hash": "0" * 64}, "content_hash"),
        ({"answer": {"text": "43"}}, "content_hash"),
        ({"answer": {}}, "content_hash"),
        ({"messages": ({"role": "user", "content": "\x00"},)}, "messages"),
        ({"params": {"temperature": float("nan")}}, "params"),
        ({"metadata": {"a": "\ud800"}}, "metadata"),
        ({"model": "a\x00"}, "model"),
    ],
)
def test_a_record_that_cannot_be_trusted_is_refused_before_anything_is_written(
    database: Database, caller, wrong, field: str
) -> None:
    asked = interaction(caller)
    broken = dataclasses.replace(asked, **wrong)
    with database.transaction() as conn:
        with pytest.raises(InvalidValue, match=f"^{field}: "):
            recording.record(conn, broken, decision(broken), item(broken, 1.0))
        for empty in (table, decisions, review_items):
            assert conn.execute(sa.select(sa.func.count()).select_from(empty)).scalar() == 0


def test_a_decision_about_other_bytes_is_refused(database: Database, caller) -> None:
    asked = interaction(caller)
    other = decision(asked, content_hash="0" * 64)
    with database.transaction() as conn, pytest.raises(InvalidValue, match="decision"):
        recording.record(conn, asked, other, item(asked, 1.0))


def test_a_vouched_answer_of_another_text_than_was_decided_on_is_not_released(database: Database, caller) -> None:
    """The hash holds by itself: rows that were written with a wrong text would be vouched for all the same."""
    with database.transaction() as conn:
        asked, _ = record(conn, caller, Action.RELEASE, confidence=0.9)
        found = interactions.get_outcome(conn, asked.id, "acme")
    assert found is not None
    other = dataclasses.replace(found.interaction, answer={**found.interaction.answer, "text": "43"})
    altered = dataclasses.replace(found, interaction=other)
    assert (found.released_text, altered.released_text, altered.content_changed) == ("42", None, True)


def test_unknown_confidence_is_never_released(database: Database, caller) -> None:
    asked = interaction(caller, confidence=None)
    with database.transaction() as conn, pytest.raises(InvalidValue, match="must be held"):
        recording.record(conn, asked, decision(asked, Action.RELEASE), None)


def test_the_database_itself_refuses_to_release_unknown_confidence(database: Database, caller) -> None:
    waiting = held(database, caller)
    change = sa.update(decisions).where(decisions.c.interaction_id == waiting.interaction_id)
    with pytest.raises(IntegrityError), database.transaction() as conn:
        conn.execute(change.values(action="release", confidence=None))


@pytest.mark.parametrize("action", [Action.HOLD, Action.FLAG])
def test_hold_and_flag_need_a_review_item(database: Database, caller, action: Action) -> None:
    asked = interaction(caller)
    with database.transaction() as conn, pytest.raises(InvalidValue, match="item"):
        recording.record(conn, asked, decision(asked, action), None)


def test_another_tenant_finds_nothing(database: Database, caller) -> None:
    waiting = held(database, caller)
    with database.transaction() as conn:
        assert interactions.get_outcome(conn, waiting.interaction_id, "rival") is None
        assert interactions.list_outcomes(conn, "rival") == []
        assert interactions.get_outcomes(conn, [waiting.interaction_id], "rival") == {}
        assert interactions.delete(conn, waiting.interaction_id, "rival", "key:x") is False
        with pytest.raises(NotFound):
            interactions.list_outcomes(conn, "rival", after=waiting.interaction_id)
        assert interactions.get_outcome(conn, waiting.interaction_id, "acme") is not None


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_follow_each_other_completely_also_at_equal_times(database: Database, caller, order) -> None:
    with database.transaction() as conn:
        made = [record(conn, caller, Action.RELEASE, confidence=0.9, at=float(n // 3))[0] for n in range(10)]
        wanted = [m.id for m in sorted(made, key=lambda m: (m.created_at, m.id), reverse=order == "desc")]
        found: list[str] = []
        while page := interactions.list_outcomes(conn, "acme", after=(found or [None])[-1], limit=3, order=order):
            found += [outcome.interaction.id for outcome in page]
    assert found == wanted


def test_the_list_filters_by_model_and_metadata(database: Database, caller) -> None:
    odd = "k\"ey'$.é"
    with database.transaction() as conn:
        first, _ = record(conn, caller, metadata={"team": "a", odd: "1"})
        second, _ = record(conn, caller, metadata={"team": "b"}, model="other")

        def ids(**filters) -> set[str]:
            return {o.interaction.id for o in interactions.list_outcomes(conn, "acme", **filters)}

        assert ids() == {first.id, second.id}
        assert ids(model="other") == {second.id}
        assert ids(metadata={"team": "a"}) == {first.id}
        assert ids(metadata={odd: "1"}) == {first.id}
        assert ids(metadata={"team": "b", odd: "1"}) == set()


def test_deletion_removes_the_content_withdraws_the_item_and_keeps_the_events(database: Database, caller) -> None:
    reviewer = key(database, "Ada")
    waiting = held(database, caller, text="secret answer")
    with database.transaction() as conn:
        claimed = reviews.claim(conn, waiting.id, reviewer, LEASE)
        reviews.save_draft(conn, waiting.id, reviewer, claimed.fencing_token, "secret draft", "")
        assert interactions.delete(conn, waiting.interaction_id, "acme", f"key:{caller.id}") is True
    with database.transaction() as conn:
        assert interactions.get_outcome(conn, waiting.interaction_id, "acme") is None
        assert interactions.list_outcomes(conn, "acme") == []
        assert review_reads.get_item(conn, waiting.id, "acme").state is ItemState.WITHDRAWN
        assert interactions.delete(conn, waiting.interaction_id, "acme", "key:x") is False
        rows = [str(tuple(row)) for each in (table, drafts, verdicts) for row in conn.execute(sa.select(each))]
    assert not any("secret" in row or "6 × 7" in row for row in rows)
    assert {"decision", "interaction.deleted", "review.withdrawn"} <= set(_kinds(database, waiting.interaction_id))


def test_deletion_after_a_verdict_removes_its_text_and_reason_too(database: Database, caller) -> None:
    reviewer = key(database, "Ada")
    waiting = held(database, caller)
    with database.transaction() as conn:
        token = reviews.claim(conn, waiting.id, reviewer, LEASE).fencing_token
        reviews.decide(conn, waiting.id, reviewer, token, VerdictKind.EDIT, "secret typo", "secret correction")
        assert interactions.delete(conn, waiting.interaction_id, "acme", "key:x") is True
        assert review_reads.get_item(conn, waiting.id, "acme").state is ItemState.EDITED
        kept = str([tuple(row) for row in conn.execute(sa.select(verdicts))])
        events = str(audit_query.query(conn, "acme", limit=100))
    assert "review.edited" in events
    assert "secret" not in kept + events
