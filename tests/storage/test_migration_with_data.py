"""Databases of the first version keep every row when they are brought up, and when they are taken back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from storage import audit_log, audit_query, idempotency, interactions, keys, reviews, sealing, subjects, vouched_records
from storage.checkpoints import Signer, new_signing_key
from storage.database import open_database
from storage.errors import AlreadyVouched, EventAltered, KeysUnfit
from storage.event_format import leaf_hash
from storage.records import Key, Policy, Role, VerdictKind, Vouched
from storage.schema import downgrade, upgrade
from storage.tables import idempotency as idempotency_rows
from tests.storage.conftest import VAULT
from tests.storage.made import LEASE

TEXT_HASH = hashlib.sha256(b"42").hexdigest()
ASKED: dict[str, Any] = {
    "id": "chatcmpl_1", "tenant": "acme", "key_id": "key_1", "model": "m", "served_model": "m@1", "messages": "[]",
    "params": '{"user":"ada"}', "answer": '{"text":"42"}', "content_hash": TEXT_HASH, "created_at": 5.0,
    "request_id": "req_1", "metadata": "{}",
}  # fmt: skip
ITEM: dict[str, Any] = {
    "id": "rev_1", "interaction_id": "chatcmpl_1", "tenant": "acme", "asked_by": "key_1", "state": "approved",
    "version": 3, "urgency": 1.0, "reason": "low_confidence", "action": "hold", "created_at": 5.0, "expires_at": 9e9,
    "fencing_token": 2, "claims": 2, "lapses": 0, "claimed_by": "key_3", "decided_at": 7.0,
}  # fmt: skip
OPEN = {"id": "rev_2", "interaction_id": "chatcmpl_2", "state": "pending", "claimed_by": None, "decided_at": None}
WORD: dict[str, Any] = {
    "id": "ver_1", "item_id": "rev_1", "tenant": "acme", "reviewer_id": "key_2", "kind": "refer", "reason": "law",
    "fencing_token": 1, "created_at": 6.0,
}  # fmt: skip
POLICY = {"id": "pol_1", "version": 1, "tenant": "acme", "name": "default", "threshold": 0.85, "below": "hold"}
ROWS: dict[str, list[dict[str, Any]]] = {
    "policies": [{**POLICY, "review_seconds": 60.0, "created_at": 1.0}],
    "keys": [
        {"id": f"key_{n}", "tenant": "acme", "name": f"K{n}", "secret_hash": f"s{n}", "roles": "reviewer",
         "policy_id": "pol_1", "created_at": 1.0} for n in (1, 2, 3)
    ],
    "sign_ins": [{"secret_hash": "s", "key_id": "key_2", "created_at": 1.0, "expires_at": 9e9}],
    "signin_links": [{"link_hash": "l", "key_id": "key_2", "created_at": 1.0, "expires_at": 9e9}],
    "calibrations": [{"id": "cal_1", "model": "m", "body": "{}", "active": True, "created_at": 1.0}],
    "interactions": [ASKED, {**ASKED, "id": "chatcmpl_2"}],
    "decisions": [
        {"id": f"dec_{n}", "interaction_id": f"chatcmpl_{n}", "tenant": "acme", "action": "hold",
         "reason": "low_confidence", "threshold": 0.85, "policy_id": "pol_1", "policy_version": 1,
         "content_hash": TEXT_HASH, "created_at": 5.0} for n in (1, 2)
    ],
    "review_items": [ITEM, {**ITEM, **OPEN}],
    "drafts": [{"item_id": "rev_2", "reviewer_id": "key_2", "text": "t", "note": "", "saved_at": 6.0}],
    "verdicts": [
        WORD, {**WORD, "id": "ver_2", "reviewer_id": "key_3", "kind": "approve", "content_hash": TEXT_HASH}
    ],
    "outbox": [{"topic": "review.enqueue", "payload": '{"item_id":"rev_2","tenant":"acme"}', "created_at": 5.0}],
    "leaders": [{"name": "worker", "holder": "h", "expires_at": 1.0}],
}  # fmt: skip


def _old_event(n: int, at: float) -> dict[str, Any]:
    """As the first version wrote it."""
    fields = {
        "id": f"evt_{n:03}", "at": at, "tenant": "acme", "kind": "decision", "actor": "key:é", "interaction_id": "i",
        "item_id": None, "trace_id": None, "data": {"confidence": 0.1 + 0.2, "a": "é\u2028", "n": n},
    }  # fmt: skip
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    data = json.dumps(fields["data"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return {**fields, "data": data, "confidence": 0.1 + 0.2, "hash": hashlib.sha256(text.encode()).hexdigest()}


EVENTS = [_old_event(1, 1_795_000_000.123456), _old_event(3, 2.0), _old_event(2, 2.0)]


@contextmanager
def _writing(url: str) -> Iterator[sa.Connection]:
    database = open_database(url, VAULT)
    try:
        with database.transaction() as conn:
            yield conn
    finally:
        database.close()


@pytest.fixture
def old_url(empty_url: str) -> str:
    """A database of the first version with rows in every table."""
    upgrade(empty_url, "0001")
    with _writing(empty_url) as conn:
        tables = sa.MetaData()
        tables.reflect(conn)
        assert {*ROWS, "audit_events", "alembic_version"} == set(tables.tables)
        for name, rows in {**ROWS, "audit_events": EVENTS}.items():
            for row in rows:
                conn.execute(tables.tables[name].insert(), row)
    return empty_url


def _contents(url: str) -> dict[str, list[dict[str, Any]]]:
    with _writing(url) as conn:
        tables = sa.MetaData()
        tables.reflect(conn, only=[*ROWS, "audit_events"])
        return {
            name: sorted((dict(row._mapping) for row in conn.execute(sa.select(tables.tables[name]))), key=repr)
            for name in [*ROWS, "audit_events"]
        }


def _shape(url: str) -> dict[str, Any]:
    """Everything about the tables that a migration could forget to put back."""
    with _writing(url) as conn:
        look = sa.inspect(conn)

        def named(found: list[Any]) -> list[str]:
            plain = [
                {**each, "dialect_options": sorted(map(str, each.get("dialect_options", {}).values()))}
                for each in found
            ]
            return sorted(str(sorted(each.items())) for each in plain)

        return {
            name: [
                named([{**column, "type": str(column["type"])} for column in look.get_columns(name)]),
                named(look.get_indexes(name)),
                named(look.get_check_constraints(name)),
                named(look.get_foreign_keys(name)),
                named(look.get_unique_constraints(name)),
                look.get_pk_constraint(name)["constrained_columns"],
            ]
            for name in sorted(look.get_table_names())
        }


def test_every_row_survives_the_way_up_and_the_way_back(old_url: str) -> None:
    before, shape = _contents(old_url), _shape(old_url)
    upgrade(old_url, vault=VAULT)
    after = _contents(old_url)
    for name in ROWS:
        kept = [{column: row[column] for column in old} for old, row in zip(before[name], after[name], strict=True)]
        assert kept == before[name], name
    downgrade(old_url, "0001")
    assert _contents(old_url) == before
    assert _shape(old_url) == shape
    upgrade(old_url, vault=VAULT)
    assert _contents(old_url) == after


def test_old_events_get_the_new_hash_and_wait_to_be_sealed_in_order(old_url: str) -> None:
    upgrade(old_url, vault=VAULT)
    with _writing(old_url) as conn:
        events = audit_query.query(conn, "acme")
        assert [event.id for event in events] == ["evt_001", "evt_003", "evt_002"]
        rows = {row["id"]: row["data"] for row in EVENTS}
        assert [event.hash for event in events] == [leaf_hash(event, rows[event.id]) for event in events]
        assert sealing.seal(conn, Signer(new_signing_key())).sealed == 3


def test_what_waits_to_be_sealed_is_vouched_for_only_with_the_master_key(old_url: str) -> None:
    before = _contents(old_url)
    with pytest.raises(KeysUnfit, match="countersign migrate"):
        upgrade(old_url)
    assert _contents(old_url) == before


def test_the_names_of_idempotency_keys_are_hidden_and_still_known(old_url: str) -> None:
    key = Key("key_1", "acme", "K", frozenset({Role.CALLER}), Policy("pol_1"), 1.0)
    upgrade(old_url, "0005")
    with _writing(old_url) as conn:
        row = {"key_id": "key_1", "name": "order of ada", "tenant": "acme", "body_hash": "b", "owner": "try_1"}
        times = {"lease_expires_at": 1.0, "created_at": 1.0, "expires_at": 9e9, "interaction_id": "chatcmpl_1"}
        conn.execute(sa.insert(idempotency_rows), {**row, **times})
    upgrade(old_url, vault=VAULT)
    with _writing(old_url) as conn:
        found = idempotency.begin(conn, key, "order of ada", "b", "try_2", 15.0, 60.0)
        assert found == idempotency.Replay("chatcmpl_1")
        assert "ada" not in conn.execute(sa.select(idempotency_rows.c.name)).scalar_one()


def test_an_event_that_was_altered_stops_the_upgrade_and_is_named(old_url: str) -> None:
    with _writing(old_url) as conn:
        conn.execute(sa.text("UPDATE audit_events SET actor = 'key:other' WHERE id = 'evt_003'"))
    before = _contents(old_url)
    with pytest.raises(EventAltered, match="evt_003"):
        upgrade(old_url, vault=VAULT)
    assert _contents(old_url) == before


def test_what_was_held_before_can_be_decided_deleted_and_erased_after(old_url: str) -> None:
    upgrade(old_url, vault=VAULT)
    ada = Key("key_2", "acme", "K2", frozenset({Role.REVIEWER}), Policy("pol_1"), 1.0)
    with _writing(old_url) as conn:
        _tell(conn)
    assert _vouch_for_earlier(old_url) == (2, [])
    with _writing(old_url) as conn:
        claim = reviews.claim(conn, "rev_2", ada, LEASE)
        reviews.decide(conn, "rev_2", ada, claim.fencing_token, VerdictKind.APPROVE, "fine", None)
        approved = audit_query.query(conn, "acme", limit=1)
        assert subjects.revealed(conn, approved)[0].private == {"content_hash": TEXT_HASH, "said": "fine"}
        assert interactions.delete(conn, "chatcmpl_2", "acme", "key:key_1")


def test_earlier_records_leave_only_once_they_are_vouched_for_as_the_log_tells(old_url: str) -> None:
    upgrade(old_url, vault=VAULT)
    with _writing(old_url) as conn:
        _tell(conn)
        conn.execute(sa.text("UPDATE decisions SET threshold = 0.1 WHERE interaction_id = 'chatcmpl_2'"))
        found = interactions.get_outcomes(conn, ["chatcmpl_1", "chatcmpl_2"], "acme")
        assert [each.vouched for each in found.values()] == [Vouched.NOT, Vouched.NOT]
    assert _vouch_for_earlier(old_url) == (1, ["chatcmpl_2"])
    with _writing(old_url) as conn:
        approved = interactions.get_outcome(conn, "chatcmpl_1", "acme")
        assert approved is not None
        assert approved.released_text == "42"
        (event,) = audit_query.query(conn, "default", audit_query.Filters(kinds=("records.vouched",)))
        assert event.data == {"interactions": 1, "left": 1}
    with pytest.raises(AlreadyVouched, match="already"):
        _vouch_for_earlier(old_url)
    database = open_database(old_url, VAULT)
    checked = vouched_records.check(database)
    database.close()
    assert (checked.decisions, checked.verdicts, checked.bad) == (1, 2, 1)
    assert (checked.first_bad, checked.why) == ("chatcmpl_2", "its decision is not_vouched")


def _tell(conn: sa.Connection) -> None:
    """What the first version wrote about ROWS into the log: with the hash of the text, as everything public."""
    for row in ROWS["decisions"]:
        names = ("action", "reason", "threshold", "policy_id", "policy_version", "content_hash")
        data = {name: row[name] for name in names} | {"decision_id": row["id"], "confidence": None, "calibration": None}
        audit_log.append(conn, "decision", "key:key_1", "acme", interaction_id=row["interaction_id"], data=data)
    for row in ROWS["verdicts"]:
        kind = "review.referred" if row["kind"] == "refer" else "review.approved"
        data = {"verdict_id": row["id"], "verdict": row["kind"], "reviewer": row["reviewer_id"]}
        told = {**data, "content_hash": row.get("content_hash")}
        audit_log.append(conn, kind, "key:key_2", "acme", interaction_id="chatcmpl_1", data=told)


def _vouch_for_earlier(url: str) -> tuple[int, list[str]]:
    database = open_database(url, VAULT)
    try:
        return vouched_records.vouch_for_earlier(database, "operator")
    finally:
        database.close()


def test_what_the_new_version_wrote_is_taken_back_as_far_as_the_first_can_keep_it(old_url: str) -> None:
    upgrade(old_url, vault=VAULT)
    with _writing(old_url) as conn:
        made, _ = keys.create(conn, "acme", "Grace", [Role.CALLER])
        whose = subjects.known(conn, "acme", "ada")
        audit_log.append(conn, "decision", "key:k", "acme", data={"n": 4}, private={"said": "x"}, subject=whose)
        sealing.seal(conn, Signer(new_signing_key()))
        verdict = {**WORD, "id": "ver_9", "item_id": "rev_1", "reviewer_id": "key_1", "kind": "approve", "final": False}
        columns = ", ".join(verdict)
        values = ", ".join(f":{name}" for name in verdict)
        row = {**verdict, "content_hash": TEXT_HASH}
        insert = f"INSERT INTO verdicts ({columns}, content_hash) VALUES ({values}, :content_hash)"
        conn.execute(sa.text(insert), row)
    downgrade(old_url, "0001")
    found = _contents(old_url)
    assert made.id in {row["id"] for row in found["keys"]}
    assert [row["id"] for row in found["verdicts"]] == ["ver_1", "ver_2"]
    for row in found["audit_events"]:
        fields = {name: row[name] for name in _old_event(1, 1.0) if name not in ("hash", "confidence")}
        text = json.dumps(
            {**fields, "data": json.loads(row["data"])}, sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )
        assert row["hash"] == hashlib.sha256(text.encode()).hexdigest()
    upgrade(old_url, vault=VAULT)
    with _writing(old_url) as conn:
        assert sealing.unsealed(conn) == len(found["audit_events"])
