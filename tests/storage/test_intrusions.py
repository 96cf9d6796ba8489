"""What somebody writes into the log past the product is never sealed, whatever it says; the honest rest is."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from storage import audit_log, audit_query, event_format, intrusions, sealing
from storage.audit_query import Filters
from storage.audit_tables import audit_events, audit_unsealed
from storage.database import Database, open_database
from storage.errors import KeysUnfit, SealedByAnother, WrongMasterKey
from storage.records import AuditEvent
from storage.vault import Vault
from tests.storage.conftest import VAULT
from tests.storage.logs import SIGNER, append, leaves, seal_all
from tests.storage.made import key
from verifier.checkpoints import VerifyingKey
from verifier.findings import Altered
from verifier.log import verify
from verifier.postgres_log import PostgresLog
from verifier.sqlite_log import SqliteLog

OTHER = Vault(bytes(32))


def seal(database: Database) -> sealing.Turn:
    with database.transaction() as conn:
        return sealing.seal(conn, SIGNER)


def forge(database: Database, kind: str = "audit.purged", vouched: str = "") -> str:
    """An event as the product would write it, by somebody who has the database and not the master key."""
    bare = open_database(database.url.render_as_string(hide_password=False))
    data = {"before_index": 3, "cutoff": 1.0, "events": 3}
    with contextlib.closing(bare), bare.transaction() as conn:
        event = audit_log.append(conn, kind, "system", "default", data=data)
        conn.execute(sa.update(audit_unsealed).where(audit_unsealed.c.event_id == event.id).values(vouched=vouched))
    return event.id


def told(database: Database) -> list[AuditEvent]:
    with database.read() as conn:
        return audit_query.query(conn, "default", Filters(kinds=["log.intrusion"]))


def checked(database: Database) -> None:
    if database.dialect == "sqlite":
        log = SqliteLog(Path(str(database.url.database)))
    else:
        log = PostgresLog(database.url.set(drivername="postgresql").render_as_string(hide_password=False))
    with contextlib.closing(log):
        verify(log, VerifyingKey(SIGNER.public), None)


@pytest.mark.parametrize("vouched", ["", "x", VAULT.vouch(b"of something else"), OTHER.vouch(b""), "\u20ac"])
def test_a_forged_event_is_not_sealed_and_the_log_says_so(database: Database, vouched: str) -> None:
    before, forged, after = append(database, 2), forge(database, vouched=vouched), append(database, 2)
    turn = seal(database)
    assert turn.intrusion == intrusions.Intrusion("not_vouched", 1, (forged,))
    assert [event for _, event, _ in leaves(database)] == [*before, *after]
    assert seal_all(database) == 5  # with the event that says so
    (event,) = told(database)
    assert event.data == {"why": "not_vouched", "rows": 1, "events": [forged]}
    with pytest.raises(Altered, match="it was put there") as found:
        checked(database)
    assert found.value.event_id == forged


def test_more_forged_events_than_a_turn_takes_keep_nothing_from_being_sealed(database: Database) -> None:
    rows = [{"event_id": f"evt_0{n:03}", "hash": "11" * 32, "vouched": "x"} for n in range(25)]
    with database.transaction() as conn:
        conn.execute(audit_unsealed.insert(), rows)
    written = append(database, 3)
    while sealing_turn(database, 10):
        pass
    assert [event for _, event, _ in leaves(database)][:3] == written
    assert [event.data["rows"] for event in told(database)] == [5, 10, 10]
    assert len(told(database)[0].data["events"]) <= 10


def sealing_turn(database: Database, limit: int) -> bool:
    with database.transaction() as conn:
        turn = sealing.seal(conn, SIGNER, limit)
    return bool(turn.sealed or turn.intrusion)


def test_a_vouched_row_does_not_vouch_for_another_event(database: Database) -> None:
    (honest,) = append(database, 1)
    with database.transaction() as conn:
        row = conn.execute(sa.select(audit_unsealed)).one()._mapping
        conn.execute(audit_unsealed.insert(), {**row, "event_id": "evt_other"})
        conn.execute(audit_unsealed.insert(), {**row, "event_id": "evt_third", "hash": "22" * 32})
    assert seal(database).intrusion is not None
    assert [event for _, event, _ in leaves(database)] == [honest]


def test_an_event_whose_waiting_row_was_altered_is_refused_and_named(database: Database) -> None:
    (honest,) = append(database, 1)
    with database.transaction() as conn:
        conn.execute(sa.update(audit_unsealed).values(hash="22" * 32))
    assert seal(database).intrusion == intrusions.Intrusion("not_vouched", 1, (honest,))
    seal_all(database)
    with pytest.raises(Altered, match="it was put there"):
        checked(database)


def test_a_sealed_event_that_is_put_back_is_taken_out_again(database: Database) -> None:
    (honest,) = append(database, 1)
    with database.read() as conn:
        row = conn.execute(sa.select(audit_unsealed)).one()._mapping
    seal(database)
    with database.transaction() as conn:
        conn.execute(audit_unsealed.insert(), dict(row))
    with pytest.raises(SealedByAnother):
        seal(database)
    with database.transaction() as conn:
        assert intrusions.refuse_put_back(conn, 10) == intrusions.Intrusion("sealed_before", 1, (honest,))
    assert seal_all(database) == 2
    checked(database)


def test_what_is_put_there_may_be_anything(database: Database) -> None:
    hostile: list[Any] = ["x" * 5_000, "evt_\u202e\x01", ""]
    hostile += [b"\x00\xff"] if database.dialect == "sqlite" else []
    with database.transaction() as conn:
        for each in hostile:
            conn.exec_driver_sql(*_insert(database, each))
    turn = seal(database)
    assert turn.intrusion is not None
    assert turn.intrusion.rows == len(hostile)
    assert all(len(shown) <= 1_000 and shown.isascii() for shown in turn.intrusion.events)
    assert seal_all(database) == 1


def _insert(database: Database, event_id: Any) -> tuple[str, tuple[Any, ...]]:
    mark = "?" if database.dialect == "sqlite" else "%s"
    return f"INSERT INTO audit_unsealed (event_id, hash, vouched) VALUES ({mark}, 'h', 'v')", (event_id,)


def test_a_product_that_writes_under_another_master_key_is_told_and_loses_nothing(database: Database) -> None:
    key(database, "Ada")
    wrong = open_database(database.url.render_as_string(hide_password=False), OTHER)
    with contextlib.closing(wrong), pytest.raises(WrongMasterKey), wrong.transaction() as conn:
        sealing.seal(conn, SIGNER)
    assert seal_all(database) == len(leaves(database)) > 0
    assert told(database) == []


def test_nothing_is_sealed_without_the_master_key(database: Database) -> None:
    append(database, 1)
    bare = open_database(database.url.render_as_string(hide_password=False))
    with contextlib.closing(bare), pytest.raises(KeysUnfit, match="master key"), bare.transaction() as conn:
        sealing.seal(conn, SIGNER)


def test_a_forged_event_stays_as_evidence_until_somebody_removes_it(database: Database) -> None:
    append(database, 1)
    forged = forge(database, "subject.erased")
    seal_all(database)
    with database.transaction() as conn:
        assert conn.execute(sa.delete(audit_events).where(audit_events.c.id == forged)).rowcount == 1
    checked(database)


def test_the_bytes_that_are_vouched_for_are_those_that_the_document_says() -> None:
    assert event_format.waiting("evt_1", "ab") == b"countersign/waiting/1\x00evt_1\x00ab"
