"""Events are found by the words of question, answer and correction, where these are kept, and by no erased ones."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from storage import audit_index, audit_query, erasure, full_text, interactions, recording, reviews
from storage.audit_query import Filters
from storage.database import Database, now
from storage.errors import InvalidValue
from storage.recording import Recording
from storage.records import Action, Interaction, Key, Role, VerdictKind
from tests.storage.conftest import empty
from tests.storage.made import LEASE, decision, interaction, item, key
from tests.storage.waiting import until_one_waits


@pytest.fixture
def caller(database: Database) -> Key:
    return key(database, "chat", Role.CALLER)


def asked(database: Database, caller: Key, question: str, answer: str = "42", *, kept: bool = True) -> Interaction:
    """A held question, recorded."""
    with database.transaction() as conn:
        at = now(conn)
        made = interaction(caller, answer, at, messages=({"role": "user", "content": question},))
        words = full_text.words_in(made.messages, made.answer) if kept else ()
        recording.record_many(conn, [Recording(made, decision(made), item(made, at), words=words)])
    return made


def found(database: Database, text: str, tenant: str = "acme", **marks: object) -> set[str | None]:
    """The interactions whose events fit."""
    with database.read() as conn:
        events = audit_query.query(conn, tenant, Filters(text=text, **marks), limit=1_000)  # type: ignore[arg-type]
    return {event.interaction_id for event in events}


@pytest.fixture(params=[1, 1_000], ids=["words are common", "words are rare"])
def rare(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RARE", "FEW"):
        monkeypatch.setattr(audit_index, name, request.param)


@pytest.mark.usefixtures("rare")
def test_events_are_found_by_all_the_words_of_question_and_answer(database: Database, caller: Key) -> None:
    refund = asked(database, caller, "May we REFUND the Straße invoice?", "Yes: ﬁve days.")
    other = asked(database, caller, "Is there a refund?", "No.")
    assert found(database, "refund") == {refund.id, other.id}
    assert found(database, "refund, STRASSE!") == {refund.id}
    assert found(database, "five refund") == {refund.id}
    assert found(database, "refund absent") == set()
    assert found(database, "fund") == set()
    assert found(database, "refund", kinds=["decision"], interaction_id=other.id) == {other.id}
    assert found(database, "refund", tenant="globex") == set()


@pytest.mark.usefixtures("rare")
def test_pages_by_words_hold_every_event_once(database: Database, caller: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_index, "LOOKED_AT", 2)
    wanted = [asked(database, caller, f"refund number {number}") for number in range(3)]
    asked(database, caller, "something else")
    seen, after = [], None
    with database.read() as conn:
        for _ in range(30):
            page = audit_query.page(conn, "acme", Filters(text="refund"), after=after, limit=2)
            seen += [event.id for event in page.events]
            after = page.next
            if after is None:
                break
        whole = audit_query.query(conn, "acme", limit=100)
    ids = {each.id for each in wanted}
    assert after is None
    assert seen == [event.id for event in whole if event.interaction_id in ids]


def test_words_are_kept_only_where_that_was_chosen(database: Database, caller: Key) -> None:
    asked(database, caller, "refund", kept=False)
    assert found(database, "refund") == set()


def test_words_of_earlier_questions_and_corrections_are_built_once(database: Database, caller: Key) -> None:
    before, corrected = asked(database, caller, "refund", kept=False), asked(database, caller, "refund", kept=False)
    _edited(database, corrected, "Seven weeks.")
    with database.transaction() as conn:
        assert full_text.build(conn, "")[0] == 2
        assert full_text.build(conn, "") == (0, None)
    assert found(database, "refund") == {before.id, corrected.id}
    assert found(database, "weeks") == {corrected.id}
    with database.transaction() as conn:
        assert (full_text.forget_some(conn), full_text.forget_some(conn)) == (2, 0)
    assert found(database, "refund") == set()


def test_a_correction_is_found_where_its_question_is(database: Database, caller: Key) -> None:
    kept, not_kept = asked(database, caller, "refund"), asked(database, caller, "refund", kept=False)
    for each in (kept, not_kept):
        _edited(database, each, "Seven weeks, refund.")
    assert found(database, "weeks") == {kept.id}


def test_words_go_with_a_deletion_and_with_a_person(database: Database, caller: Key) -> None:
    deleted, erased = asked(database, caller, "refund"), asked(database, caller, "invoice")
    with database.transaction() as conn:
        interactions.delete(conn, deleted.id, "acme", "system")
    assert found(database, "refund") == set()
    assert found(database, "invoice") == {erased.id}
    with database.transaction() as conn:
        erasure.erase_subject(conn, "acme", f"key:{caller.id}", "system")
        assert full_text.forget_some(conn) == 0


@pytest.mark.parametrize("text", ["", " ", "?!…", "💥", " ".join(map(str, range(17)))])
def test_a_search_without_words_or_with_too_many_is_refused(database: Database, text: str) -> None:
    with database.read() as conn, pytest.raises(InvalidValue, match="text"):
        audit_query.page(conn, "acme", Filters(text=text))


def test_words_keep_their_marks_and_read_alike_in_every_case() -> None:
    assert full_text.words_of("हिन्दी, தமிழ்!") == ["हिन्दी", "தமிழ்"]
    assert full_text.words_of("İstanbul", "ISTANBUL", "istanbul") == ["istanbul"]
    assert full_text.words_of("Cafe\u0301", "CAFÉ") == ["café"]


def test_who_edits_while_words_are_built_is_found_by_them(migrated_postgres: Database) -> None:
    """Who builds waits for an edit under way, and then reads it."""
    database = migrated_postgres
    empty(database)
    made = asked(database, key(database, "chat", Role.CALLER), "refund", kept=False)
    ada = key(database, "Ada")
    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as conn:
            outcome = interactions.get_outcome(conn, made.id, "acme")
            assert outcome is not None
            assert outcome.item is not None
            claimed = reviews.claim(conn, outcome.item.id, ada, LEASE)
            reviews.decide(conn, outcome.item.id, ada, claimed.fencing_token, VerdictKind.EDIT, "so", "Seven weeks.")
            building = pool.submit(_built, database)
            until_one_waits(database)
        assert building.result(30) == 1
    assert found(database, "weeks") == {made.id}


def _built(database: Database) -> int:
    with database.transaction() as conn:
        return full_text.build(conn, "")[0]


def test_words_are_bounded_in_length_and_number() -> None:
    assert full_text.words_of("a" * 1_000, "b") == ["a" * full_text.LONGEST, "b"]
    assert len(full_text.words_of(" ".join(f"w{number}" for number in range(full_text.MOST + 10)))) == full_text.MOST


def test_a_released_answer_is_found_too(database: Database, caller: Key) -> None:
    made = interaction(caller, "The refund is due.", confidence=0.9)
    with database.transaction() as conn:
        words = full_text.words_in(made.messages, made.answer)
        recording.record_many(conn, [Recording(made, decision(made, Action.RELEASE), words=words)])
    assert found(database, "due") == {made.id}


def _edited(database: Database, about: Interaction, text: str) -> None:
    ada = key(database, f"Ada of {about.id}")
    with database.transaction() as conn:
        outcome = interactions.get_outcome(conn, about.id, "acme")
        assert outcome is not None
        assert outcome.item is not None
        claimed = reviews.claim(conn, outcome.item.id, ada, LEASE)
        reviews.decide(conn, outcome.item.id, ada, claimed.fencing_token, VerdictKind.EDIT, "so", text)
