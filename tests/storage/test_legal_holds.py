"""A legal hold stands until it is lifted, names what the tenant has, and is an event when placed and when lifted."""

from __future__ import annotations

import pytest

from storage import audit_query, erasure, interactions, legal_holds, subjects
from storage.audit_query import Filters
from storage.database import Database
from storage.errors import InvalidValue, NotFound, UnderLegalHold
from storage.legal_holds import LegalHold, Scope
from tests.storage.made import held, key, record


def _place(database: Database, scope=Scope.TENANT, target=None, reason="a court asks", tenant="acme") -> LegalHold:
    with database.transaction() as conn:
        return legal_holds.place(conn, tenant, scope, target, reason, "key:admin")


def test_a_hold_stands_until_it_is_lifted(database: Database) -> None:
    first, second = _place(database), _place(database)
    with database.transaction() as conn:
        assert legal_holds.list_holds(conn, "acme") == [first, second]
        lifted = legal_holds.lift(conn, "acme", first.id, "key:other")
        assert legal_holds.lift(conn, "acme", first.id, "key:third") == lifted
        assert legal_holds.list_holds(conn, "acme") == [second]
        assert legal_holds.list_holds(conn, "acme", lifted=True) == [lifted, second]
    assert (lifted.lifted_by, lifted.placed_by) == ("key:other", "key:admin")
    assert lifted.lifted_at is not None


def test_placing_and_lifting_are_events_that_do_not_quote_the_reason(database: Database, caller) -> None:
    with database.transaction() as conn:
        asked, _ = record(conn, caller)
    hold = _place(database, Scope.INTERACTION, asked.id, "Lovelace against Babbage")
    with database.transaction() as conn:
        legal_holds.lift(conn, "acme", hold.id, "key:other")
        legal_holds.lift(conn, "acme", hold.id, "key:other")
        lifted, placed = audit_query.query(conn, "acme", Filters(kinds=["hold.placed", "hold.lifted"]))
    assert (placed.kind, placed.actor, lifted.kind, lifted.actor) == (
        "hold.placed",
        "key:admin",
        "hold.lifted",
        "key:other",
    )
    assert placed.data == lifted.data == {"hold": hold.id, "scope": "interaction", "target": asked.id}
    assert placed.interaction_id == asked.id


def test_a_subject_is_held_by_name_or_id_and_kept_as_its_id(database: Database, caller) -> None:
    held(database, caller, params={"user": "ada"})
    with database.read() as conn:
        subject = subjects.find(conn, "acme", "ada")
    assert subject is not None
    assert _place(database, Scope.SUBJECT, "ada").target == _place(database, Scope.SUBJECT, subject).target == subject


@pytest.mark.parametrize(
    ("scope", "target", "reason", "error"),
    [
        (Scope.TENANT, "acme", "why", InvalidValue),
        (Scope.SUBJECT, None, "why", InvalidValue),
        (Scope.INTERACTION, None, "why", InvalidValue),
        (Scope.TENANT, None, "  ", InvalidValue),
        (Scope.TENANT, None, "x" * 2001, InvalidValue),
        (Scope.TENANT, None, "a\x00b", InvalidValue),
        (Scope.SUBJECT, "nobody", "why", NotFound),
        (Scope.INTERACTION, "chatcmpl_none", "why", NotFound),
    ],
)
def test_a_hold_that_makes_no_sense_is_refused(database: Database, scope, target, reason, error) -> None:
    with pytest.raises(error):
        _place(database, scope, target, reason)
    with database.read() as conn:
        assert legal_holds.list_holds(conn, "acme", lifted=True) == []


def test_nothing_of_another_tenant_is_held_or_lifted(database: Database, caller) -> None:
    rival = key(database, "rival", tenant="rival")
    theirs = held(database, rival, params={"user": "ada"})
    for scope, target in ((Scope.SUBJECT, "ada"), (Scope.INTERACTION, theirs.interaction_id)):
        with pytest.raises(NotFound):
            _place(database, scope, target)
    hold = _place(database, tenant="rival")
    with database.transaction() as conn, pytest.raises(NotFound):
        legal_holds.lift(conn, "acme", hold.id, "key:x")
    with database.read() as conn:
        assert legal_holds.list_holds(conn, "acme") == []


def test_a_hold_keeps_what_it_names_and_nothing_else(database: Database, caller) -> None:
    mine, other = held(database, caller), held(database, caller)
    _place(database, Scope.INTERACTION, mine.interaction_id)
    with database.transaction() as conn:
        legal_holds.require_free(conn, "acme", "sub_1", [other.interaction_id])
        legal_holds.require_free(conn, "rival", "sub_1", [mine.interaction_id])
        with pytest.raises(UnderLegalHold):
            legal_holds.require_free(conn, "acme", "sub_1", [other.interaction_id, mine.interaction_id])


def test_the_reasons_of_lifted_holds_go_with_the_person(database: Database, caller) -> None:
    with database.transaction() as conn:
        asked, _ = record(conn, caller, params={"user": "ada"})
        other, _ = record(conn, caller, params={"user": "bob"})
    placed = [
        _place(database, Scope.SUBJECT, "ada", "Ada Lovelace sues"),
        _place(database, Scope.INTERACTION, asked.id, "what Ada asked"),
        _place(database, Scope.SUBJECT, "bob", "Bob stays"),
        _place(database, Scope.INTERACTION, other.id, "Bob's question"),
        _place(database, reason="file 7"),
    ]
    with database.transaction() as conn:
        for hold in placed:
            legal_holds.lift(conn, "acme", hold.id, "key:admin")
        erasure.erase_subject(conn, "acme", "ada", "key:admin")
        left = [hold.reason for hold in legal_holds.list_holds(conn, "acme", lifted=True)]
    assert left == ["", "", "Bob stays", "Bob's question", "file 7"]


def test_the_reason_of_a_lifted_hold_goes_with_its_question(database: Database, caller) -> None:
    with database.transaction() as conn:
        asked, _ = record(conn, caller)
    hold = _place(database, Scope.INTERACTION, asked.id, "what Ada asked")
    with database.transaction() as conn:
        legal_holds.lift(conn, "acme", hold.id, "key:admin")
        assert interactions.delete(conn, asked.id, "acme", "key:admin")
        assert legal_holds.list_holds(conn, "acme", lifted=True)[0].reason == ""
