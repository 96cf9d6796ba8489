"""An erased person's key, name and content are gone; their events stay, say that facts are gone, and still verify."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from storage import (
    audit_log,
    audit_query,
    erasure,
    event_format,
    interactions,
    keys,
    legal_holds,
    policies,
    recording,
    reviews,
    sealing,
    subjects,
    tenancy,
)
from storage.audit_query import Filters
from storage.audit_tables import audit_events
from storage.audit_tables import subjects as subject_rows
from storage.checkpoints import Signer, new_signing_key
from storage.database import Database
from storage.errors import NotFound, UnderLegalHold
from storage.legal_holds import Scope
from storage.records import ItemState, PrivateState, Role, VerdictKind
from storage.tables import decisions, review_items, verdicts
from storage.tables import interactions as table
from tests.storage.made import LEASE, decision, held, interaction, item, key, record, reread
from tests.storage.waiting import until_one_waits
from verifier.checkpoints import VerifyingKey
from verifier.findings import Altered
from verifier.log import verify
from verifier.sqlite_log import SqliteLog

ADA = {"user": "ada@example.org"}


def _events(database: Database, **marks):
    with database.read() as conn:
        return subjects.revealed(conn, audit_query.query(conn, "acme", Filters(**marks), limit=200))


def _erase(database: Database, name: str = ADA["user"], tenant: str = "acme") -> erasure.Erased:
    with database.transaction() as conn:
        return erasure.erase_subject(conn, tenant, name, "key:admin")


def _judged(database: Database, caller, reviewer, **changes):
    """An interaction of Ada's with a verdict over it."""
    waiting = held(database, caller, params=ADA, **changes)
    with database.transaction() as conn:
        claim = reviews.claim(conn, waiting.id, reviewer, LEASE)
        reviews.decide(conn, waiting.id, reviewer, claim.fencing_token, VerdictKind.EDIT, "Ada asked for 43", "43")
    return waiting


def _hashes_fit(database: Database) -> bool:
    with database.read() as conn:
        rows = conn.execute(sa.select(audit_events)).all()
        events = {row.id: audit_query.get_event(conn, row.id, row.tenant) for row in rows}
    return all(event_format.leaf_hash(events[row.id], row.data) == row.hash for row in rows)


def test_an_erased_persons_facts_are_gone_and_their_events_stay(database: Database, caller, ada) -> None:
    waiting = _judged(database, caller, ada)
    before = _events(database, interaction_id=waiting.interaction_id)
    assert {"said": "Ada asked for 43"}.items() <= next(e.private for e in before if e.kind == "review.edited").items()
    told = _erase(database)
    assert (told.interactions, told.events) == (1, 3)
    after = _events(database, interaction_id=waiting.interaction_id)
    assert [(e.id, e.hash, e.commitment) for e in after] == [(e.id, e.hash, e.commitment) for e in before]
    states = {e.kind: e.private_state for e in after}
    assert states["review.edited"] is states["interaction.recorded"] is states["decision"] is PrivateState.ERASED
    assert states["review.claimed"] is PrivateState.NONE
    (note,) = _events(database, kinds=["subject.erased"])
    assert note.data == {"subject": told.subject, "events": 3, "interactions": 1}
    assert note.subject == told.subject
    assert _hashes_fit(database)


def test_nothing_in_the_database_still_holds_what_was_erased(database: Database, caller, ada) -> None:
    _judged(database, caller, ada, text="the very answer", request_id="as ada@example.org asked")
    _erase(database)
    kept: list[str] = []
    with database.read() as conn:
        for each in (table, decisions, verdicts, review_items, audit_events, subject_rows):
            kept += [str(value) for row in conn.execute(sa.select(each)) for value in row]
        names = conn.execute(sa.select(subject_rows.c.name_mac, subject_rows.c.wrapped_key)).all()
        hashes = conn.execute(sa.select(table.c.content_hash, table.c.body_hash, table.c.params)).one()
    assert not [text for text in kept if "ada@" in text or "very answer" in text or "asked for" in text]
    assert (None, None) in [tuple(row) for row in names]
    assert tuple(hashes) == ("", None, "{}")


def test_open_items_of_an_erased_person_are_withdrawn(database: Database, caller) -> None:
    waiting = held(database, caller, params=ADA)
    _erase(database)
    assert reread(database, waiting).state is ItemState.WITHDRAWN


def test_others_are_left_alone_and_the_name_begins_anew(database: Database, caller, ada) -> None:
    mine, other = held(database, caller, params=ADA), held(database, caller, params={"user": "bob"})
    rival = held(database, key(database, "rival", tenant="rival"), params=ADA)
    erased = _erase(database).subject
    assert reread(database, other).state is reread(database, rival).state is ItemState.PENDING
    assert PrivateState.ERASED not in {e.private_state for e in _events(database, interaction_id=other.interaction_id)}
    again = held(database, caller, params=ADA)
    with database.read() as conn:
        subject = conn.execute(sa.select(table.c.subject).where(table.c.id == again.interaction_id)).scalar()
        assert interactions.get_outcome(conn, mine.interaction_id, "acme") is None
    assert subject not in (None, erased)
    with pytest.raises(NotFound):
        _erase(database, erased)


def test_a_person_is_erased_by_the_subjects_id_too(database: Database, caller) -> None:
    held(database, caller, params=ADA)
    with database.read() as conn:
        subject = subjects.find(conn, "acme", ADA["user"])
    assert subject is not None
    assert _erase(database, subject).subject == subject


def test_a_person_unknown_to_the_tenant_cannot_be_erased(database: Database, caller) -> None:
    held(database, caller, params=ADA)
    for name, tenant in (("nobody", "acme"), (ADA["user"], "rival")):
        with pytest.raises(NotFound):
            _erase(database, name, tenant)


def test_an_erased_keys_name_is_gone_from_the_log_and_from_the_keys(database: Database, ada) -> None:
    ((told,),) = [[e.private for e in _events(database, kinds=["key.created"])]]
    assert told is not None
    assert (told.keys(), told["name"]) == ({"name", "secret_hash"}, "Ada")
    told = _erase(database, f"key:{ada.id}")
    assert (told.events, told.interactions) == (1, 0)
    assert [e.private_state for e in _events(database, kinds=["key.created"])] == [PrivateState.ERASED]
    with database.read() as conn:
        assert keys.names(conn, [ada.id], "acme") == {ada.id: subjects.ERASED_NAME}


def test_an_erased_keys_name_is_gone_from_the_policy_that_was_made_with_it(database: Database) -> None:
    with database.transaction() as conn:
        own = [policies.create_policy(conn, "acme", name=name).id for name in ("Erika Mustermann", "strict")]
        made = [keys.create(conn, "acme", "Erika Mustermann", {Role.CALLER}, policy)[0].id for policy in own]
    for key_id in made:
        _erase(database, f"key:{key_id}")
    with database.read() as conn:
        names = [policies.get_policy(conn, policy, "acme").name for policy in own]
    assert names == [subjects.ERASED_NAME, "strict"]


@pytest.mark.parametrize("by_user", [True, False])
def test_interactions_from_before_subjects_were_kept_are_found_by_name(database: Database, caller, by_user) -> None:
    waiting = held(database, caller, params=ADA if by_user else {})
    with database.transaction() as conn:
        conn.execute(sa.update(table).values(subject=None))
        conn.execute(sa.delete(subject_rows))
        conn.execute(sa.delete(audit_events))
    assert _erase(database, ADA["user"] if by_user else f"key:{caller.id}").interactions == 1
    assert reread(database, waiting).state is ItemState.WITHDRAWN


def test_deleting_a_completion_destroys_the_private_facts_of_its_events_alone(database: Database, caller, ada) -> None:
    waiting, other = _judged(database, caller, ada), held(database, caller, params=ADA)
    with database.transaction() as conn:
        assert interactions.delete(conn, waiting.interaction_id, "acme", "key:k")
        assert not interactions.delete(conn, waiting.interaction_id, "acme", "key:k")
    states = {e.kind: e.private_state for e in _events(database, interaction_id=waiting.interaction_id)}
    assert states["review.edited"] is states["interaction.recorded"] is states["decision"] is PrivateState.ERASED
    assert states["interaction.deleted"] is PrivateState.NONE
    open_ones = {e.private_state for e in _events(database, interaction_id=other.interaction_id)}
    assert PrivateState.ERASED not in open_ones
    assert _hashes_fit(database)


def test_what_is_under_a_legal_hold_is_neither_erased_nor_deleted(database: Database, caller) -> None:
    waiting = held(database, caller, params=ADA)
    for scope, target in (
        (Scope.TENANT, None),
        (Scope.SUBJECT, ADA["user"]),
        (Scope.INTERACTION, waiting.interaction_id),
    ):
        with database.transaction() as conn:
            hold = legal_holds.place(conn, "acme", scope, target, "a court asks", "key:admin")
        with pytest.raises(UnderLegalHold, match=hold.id):
            _erase(database)
        with pytest.raises(UnderLegalHold), database.transaction() as conn:
            interactions.delete(conn, waiting.interaction_id, "acme", "key:k")
        assert PrivateState.ERASED not in {e.private_state for e in _events(database)}
        with database.transaction() as conn:
            legal_holds.lift(conn, "acme", hold.id, "key:admin")
    assert _erase(database).interactions == 1


def test_an_erasure_that_is_refused_changes_nothing(database: Database, caller) -> None:
    waiting = held(database, caller, params=ADA)
    with database.transaction() as conn:
        legal_holds.place(conn, "acme", Scope.TENANT, None, "a court asks", "key:admin")
    with database.read() as conn:
        before = conn.execute(sa.select(subject_rows).order_by(subject_rows.c.id)).all()
    with pytest.raises(UnderLegalHold):
        _erase(database)
    with database.read() as conn:
        assert conn.execute(sa.select(subject_rows).order_by(subject_rows.c.id)).all() == before
    assert reread(database, waiting).state is ItemState.PENDING


def test_an_erased_subjects_later_events_keep_no_private_facts(database: Database, caller) -> None:
    with database.transaction() as conn:
        asked, _ = record(conn, caller, params=ADA)
    _erase(database)
    with database.transaction() as conn:
        whose = subjects.of_interaction(conn, asked.id)
        assert whose is not None
        assert whose.key is None
        event = audit_log.append(conn, "decision", "key:k", "acme", private={"said": "Ada"}, subject=whose)
    assert (event.subject, event.commitment) == (whose.id, None)


def test_many_interactions_of_one_person_are_erased_at_once(database: Database, caller, monkeypatch) -> None:
    monkeypatch.setattr(erasure, "_AT_ONCE", 3)
    with database.transaction() as conn:
        for _ in range(7):
            asked = interaction(caller, params=ADA)
            recording.record(conn, asked, decision(asked), item(asked, 1_000.0))
    assert _erase(database).interactions == 7
    with database.read() as conn:
        states = conn.execute(sa.select(review_items.c.state)).scalars().all()
    assert set(states) == {"withdrawn"}


def test_what_is_being_recorded_while_its_subject_is_erased_is_erased_too(database: Database, caller) -> None:
    held(database, caller, params=ADA)
    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as conn:
            asked, _ = record(conn, caller, params=ADA)
            erasing = pool.submit(_erase, database)
            until_one_waits(database)
        assert erasing.result(timeout=30).interactions == 2
    assert PrivateState.OPEN not in {e.private_state for e in _events(database, interaction_id=asked.id)}


def test_a_tenants_own_transaction_erases_and_acts_for_it_afterwards(database: Database, caller) -> None:
    waiting, rival = held(database, caller, params=ADA), key(database, "rival", tenant="rival")
    theirs = held(database, rival, params=ADA)
    with database.transaction() as conn:
        tenancy.act_for(conn, "acme")
        assert erasure.erase_subject(conn, "acme", ADA["user"], "key:admin").interactions == 1
        tenants = conn.execute(sa.select(table.c.tenant).distinct()).scalars().all()
        assert tenants == ["acme"] or database.dialect == "sqlite"
    assert reread(database, waiting).state is ItemState.WITHDRAWN
    assert reread(database, theirs).state is ItemState.PENDING


def test_an_erased_log_verifies_and_one_whose_facts_are_just_gone_does_not(database: Database, caller, ada) -> None:
    if database.dialect != "sqlite":
        pytest.skip("the rows are the same")
    _judged(database, caller, ada)
    _erase(database)
    signer = Signer(new_signing_key())
    with database.transaction() as conn:
        sealing.seal(conn, signer)
    with closing(SqliteLog(Path(str(database.url.database)))) as log:
        assert verify(log, VerifyingKey(signer.public), None).erased == 3
    with database.transaction() as conn:
        conn.execute(sa.update(audit_events).values(salt=None, sealed=None))
    with closing(SqliteLog(Path(str(database.url.database)))) as log, pytest.raises(Altered):
        verify(log, VerifyingKey(signer.public), None)
