"""An event's hash is spelled out byte by byte, and covers what is stored: public facts, and private ones sealed."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import struct

import pytest
import sqlalchemy as sa

from storage import audit_log, audit_query, event_format, subjects
from storage.audit_log import NewEvent
from storage.audit_tables import audit_events, audit_unsealed
from storage.errors import InvalidValue
from storage.records import AuditEvent
from tests.storage.conftest import VAULT

_EVENT = AuditEvent(
    id="evt_1",
    at=1.5,
    tenant="acme",
    kind="decision",
    actor="key:é",
    interaction_id="i",
    item_id=None,
    trace_id=None,
    subject="sub_1",
    commitment="00ff",
)
_DATA = '{"a":1}'
_PREIMAGE = (
    b"countersign/event/2"
    b"\x01\x00\x00\x00\x05evt_1"
    b"\x02\x3f\xf8\x00\x00\x00\x00\x00\x00"  # 1.5
    b"\x01\x00\x00\x00\x04acme"
    b"\x01\x00\x00\x00\x08decision"
    b"\x01\x00\x00\x00\x06key:\xc3\xa9"
    b"\x01\x00\x00\x00\x01i"
    b"\x00"  # no item
    b"\x00"  # no trace
    b'\x01\x00\x00\x00\x07{"a":1}'
    b"\x01\x00\x00\x00\x05sub_1"
    b"\x01\x00\x00\x00\x0400ff"
)
_HASH = "0cf8db23fec588e293eb1307226d55ff2f9688a7f939b23f076aa19df6accbea"


@pytest.fixture
def conn(database):
    with database.transaction() as opened:
        yield opened


def test_the_golden_event_has_these_bytes_and_this_hash() -> None:
    assert event_format.preimage(_EVENT, _DATA) == _PREIMAGE
    assert event_format.leaf_hash(_EVENT, _DATA) == _HASH == hashlib.sha256(b"\x00" + _PREIMAGE).hexdigest()


def test_no_two_rows_of_values_have_the_same_bytes() -> None:
    assert event_format.frame(None) + event_format.frame("a") != event_format.frame("a") + event_format.frame(None)
    assert event_format.frame("ab") + event_format.frame("") != event_format.frame("a") + event_format.frame("b")
    assert event_format.frame("") != event_format.frame(None)
    assert event_format.frame(0.0) != event_format.frame("\x00" * 8)
    assert event_format.frame(-0.0) == b"\x02" + struct.pack(">d", -0.0)


@pytest.mark.parametrize(
    "field", ["id", "tenant", "kind", "actor", "interaction_id", "item_id", "trace_id", "subject", "commitment"]
)
def test_each_field_changes_the_hash(field: str) -> None:
    assert event_format.leaf_hash(dataclasses.replace(_EVENT, **{field: "x"}), _DATA) != _HASH


def test_time_and_data_change_the_hash() -> None:
    assert event_format.leaf_hash(dataclasses.replace(_EVENT, at=1.25), _DATA) != _HASH
    assert event_format.leaf_hash(_EVENT, '{"a": 1}') != _HASH


def test_what_is_stored_has_the_hash_that_is_stored_and_waits_to_be_sealed(conn) -> None:
    subject = subjects.known(conn, "acme", "ada")
    event = audit_log.append(
        conn, "decision", "key:k", "acme", data={"z": 0.1 + 0.2, "a": "é"}, private={"said": "no"}, subject=subject
    )
    row = conn.execute(sa.select(audit_events).where(audit_events.c.id == event.id)).one()
    assert row.data == '{"a":"é","z":0.30000000000000004}'
    assert row.hash == event_format.leaf_hash(audit_query.get_event(conn, event.id, "acme"), row.data)
    opened = bytes.fromhex(row.salt) + base64.b64decode(row.sealed)
    assert row.commitment == hashlib.sha256(opened).hexdigest()
    vouched = VAULT.vouch(event_format.waiting(event.id, event.hash))
    assert [tuple(row) for row in conn.execute(sa.select(audit_unsealed))] == [(event.id, event.hash, vouched)]


def test_many_events_are_written_as_they_would_be_one_by_one(conn) -> None:
    subject = subjects.known(conn, "acme", "ada")
    assert subject is not None
    events = audit_log.append_many(
        conn,
        [
            NewEvent("decision", "key:k", "acme", data={"confidence": 1, "model": "m"}, at=5.0),
            NewEvent("decision", "key:k", "acme", private={"said": "a"}, subject=subject, at=6.0),
            NewEvent("decision", "key:k", "acme", private={"said": "b"}, subject=subject.id, at=7.0),
        ],
    )
    stored = audit_query.query(conn, "acme")
    assert stored == events[::-1]
    assert [event.private for event in subjects.revealed(conn, events)] == [None, {"said": "a"}, {"said": "b"}]
    assert conn.execute(sa.select(sa.func.count()).select_from(audit_unsealed)).scalar() == 3


def test_nothing_is_written_when_one_of_many_cannot_be(conn) -> None:
    good = NewEvent("decision", "key:k", "acme")
    for bad in (
        NewEvent("unheard.of", "key:k", "acme"),
        NewEvent("decision", "key:k", "acme", private={"said": "x"}),  # of nobody
        NewEvent("decision", "key:k", "acme", data={"n": float("inf")}),
        NewEvent("decision", "key:\ud800", "acme"),
    ):
        with pytest.raises((ValueError, InvalidValue)):
            audit_log.append_many(conn, [good, bad])
    assert audit_query.query(conn, "acme") == []
    assert audit_log.append_many(conn, []) == []
