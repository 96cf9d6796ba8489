"""Private facts open under their own subject's key, for their own event and with the right master key only."""

from __future__ import annotations

import base64
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from storage import audit_log, audit_query, subjects, tenancy, vault
from storage.audit_tables import audit_events
from storage.database import Database, open_database
from storage.errors import InvalidValue, WrongMasterKey
from storage.records import PrivateState
from storage.vault import Vault
from tests.storage.conftest import VAULT

OTHER = Vault(bytes(32))


def _said(database: Database, tenant: str = "acme", name: str = "ada") -> str:
    with database.transaction() as conn:
        whose = subjects.known(conn, tenant, name)
        event = audit_log.append(conn, "decision", "key:k", tenant, private={"said": "é\u2028"}, subject=whose)
    return event.id


def _state(database: Database, event_id: str) -> tuple[PrivateState | None, object]:
    with database.read() as conn:
        (event,) = subjects.revealed(conn, [audit_query.get_event(conn, event_id, "acme")])
    return event.private_state, event.private


def test_what_is_sealed_opens_for_its_event_under_its_key_only() -> None:
    key = vault.new_key()
    sealed = vault.seal(key, "é", "evt_1")
    assert vault.open_sealed(key, sealed, "evt_1") == "é"
    assert vault.open_sealed(key, sealed, "evt_2") is None
    assert vault.open_sealed(vault.new_key(), sealed, "evt_1") is None
    assert vault.open_sealed(key, sealed[:-1] + bytes([sealed[-1] ^ 1]), "evt_1") is None
    assert vault.open_sealed(key, sealed[:5], "evt_1") is None
    assert vault.seal(key, "é", "evt_1") != sealed  # never the same nonce


def test_a_subjects_key_is_unwrapped_by_its_master_key_only() -> None:
    key = vault.new_key()
    wrapped = VAULT.wrap(key, "sub_1")
    assert VAULT.unwrap(wrapped, "sub_1") == key
    assert VAULT.unwrap(wrapped, "sub_2") is None
    assert OTHER.unwrap(wrapped, "sub_1") is None
    assert key not in base64.b64decode(wrapped)


def test_names_are_known_by_an_hmac_that_differs_by_tenant_and_master_key() -> None:
    macs = {VAULT.name_mac("a", "bc"), VAULT.name_mac("ab", "c"), VAULT.name_mac("a", "bd"), OTHER.name_mac("a", "bc")}
    assert len(macs) == 4
    assert VAULT.name_mac("a", "bc") == Vault(bytes(range(32))).name_mac("a", "bc")


def test_a_master_key_is_32_bytes_in_base64() -> None:
    text = vault.new_master_key()
    assert vault.vault_from(f" {text}\n").id == Vault(base64.b64decode(text)).id
    for wrong in ("", "x", base64.b64encode(os.urandom(31)).decode(), text + "!"):
        with pytest.raises(InvalidValue, match="master key"):
            vault.vault_from(wrong)


def test_neither_vault_nor_subject_shows_its_key(database: Database) -> None:
    with database.transaction() as conn:
        whose = subjects.known(conn, "acme", "ada")
    assert whose is not None
    assert whose.key is not None
    assert repr(whose.key) not in repr(whose)
    assert repr(VAULT) == f"Vault({VAULT.id})"


def test_sealed_facts_are_read_again_and_stand_nowhere_in_plain(database: Database) -> None:
    event = _said(database)
    assert _state(database, event) == (PrivateState.OPEN, {"said": "é\u2028"})
    with database.read() as conn:
        row = conn.execute(sa.select(audit_events).where(audit_events.c.id == event)).one()
    assert "said" not in str(tuple(row))


def test_facts_moved_to_another_event_or_altered_are_unreadable(database: Database) -> None:
    first, second = _said(database), _said(database)
    with database.transaction() as conn:
        sealed = sa.select(audit_events.c.sealed).where(audit_events.c.id == first).scalar_subquery()
        conn.execute(sa.update(audit_events).where(audit_events.c.id == second).values(sealed=sealed))
    assert _state(database, first)[0] is PrivateState.OPEN
    assert _state(database, second) == (PrivateState.UNREADABLE, None)


def test_another_master_key_reads_nothing_and_is_refused_with_one_sentence(database: Database) -> None:
    event = _said(database)
    other = open_database(database.url.render_as_string(hide_password=False), OTHER)
    assert _state(other, event) == (PrivateState.UNREADABLE, None)
    with database.read() as conn:
        subjects.require_own_master(conn)
    with other.read() as conn, pytest.raises(WrongMasterKey, match=VAULT.id):
        subjects.require_own_master(conn)
    other.close()


def test_without_a_vault_private_facts_are_dropped_and_not_kept_in_plain(database: Database) -> None:
    bare = open_database(database.url.render_as_string(hide_password=False))
    with bare.transaction() as conn:
        assert subjects.known(conn, "acme", "ada") is None
        event = audit_log.append(conn, "decision", "key:k", "acme", data={"n": 1}, private={"said": "x"})
    bare.close()
    assert (event.commitment, event.private) == (None, None)
    assert _state(database, event.id) == (PrivateState.NONE, None)


def test_one_name_is_one_subject_and_another_tenants_is_another(database: Database) -> None:
    with database.transaction() as conn:
        wanted = [("acme", "ada"), ("acme", "bob"), ("rival", "ada"), ("acme", "ada")]
        first = subjects.known_many(conn, wanted)
        again = subjects.known_many(conn, wanted[::-1])
        assert first == again
        assert len({subject.id for subject in first.values()}) == 3
        assert subjects.known_many(conn, []) == {}
        assert subjects.find(conn, "rival", first["acme", "ada"].id) is None
        assert subjects.find(conn, "rival", "bob") is None


def test_a_name_that_is_no_text_is_refused(database: Database) -> None:
    with database.transaction() as conn:
        for name in ("a\x00b", "\ud800"):
            with pytest.raises(InvalidValue, match="user"):
                subjects.known(conn, "acme", name)


def test_transactions_that_meet_a_name_at_once_agree_on_its_subject(database: Database) -> None:
    together = threading.Barrier(4)

    def meet(_: int) -> subjects.Subject | None:
        together.wait(10)
        with database.transaction() as conn:
            return subjects.known(conn, "acme", "ada")

    with ThreadPoolExecutor(4) as pool:
        assert len({None if found is None else found.id for found in pool.map(meet, range(4))} - {None}) == 1


def test_a_tenants_own_transaction_seals_reads_and_finds(database: Database) -> None:
    with database.transaction() as conn:
        tenancy.act_for(conn, "acme")
        whose = subjects.known(conn, "acme", "ada")
        assert whose is not None
        event = audit_log.append(conn, "decision", "key:k", "acme", private={"said": "x"}, subject=whose.id)
        assert subjects.revealed(conn, [event])[0].private == {"said": "x"}
        assert subjects.find(conn, "acme", "ada") == whose.id
