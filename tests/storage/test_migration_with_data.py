"""Databases of the first version keep every row when they are brought up, and when they are taken back."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from storage import audit_log, audit_query, idempotency, keys, sealing, subjects
from storage.checkpoints import Signer, new_signing_key
from storage.errors import KeysUnfit
from storage.event_format import leaf_hash
from storage.records import Key, Policy, Role
from storage.schema import downgrade, upgrade
from storage.schema_errors import EventAltered, EventsWait
from storage.tables import idempotency as idempotency_rows
from tests.storage.conftest import VAULT
from tests.storage.first_version import EVENTS, ROWS, TEXT_HASH, WORD, bring_up, make, old_event, writing
from tests.storage.logs import SIGNER
from verifier.checkpoints import VerifyingKey
from verifier.log import Intact, verify
from verifier.postgres_log import PostgresLog
from verifier.sqlite_log import SqliteLog


@pytest.fixture
def old_url(empty_url: str) -> str:
    return make(empty_url)


def _contents(url: str) -> dict[str, list[dict[str, Any]]]:
    with writing(url) as conn:
        tables = sa.MetaData()
        tables.reflect(conn, only=[*ROWS, "audit_events"])
        return {
            name: sorted((dict(row._mapping) for row in conn.execute(sa.select(tables.tables[name]))), key=repr)
            for name in [*ROWS, "audit_events"]
        }


def _shape(url: str) -> dict[str, Any]:
    """Everything about the tables that a migration could forget to put back."""
    with writing(url) as conn:
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
    bring_up(old_url)
    after = _contents(old_url)
    for name in ROWS:
        kept = [{column: row[column] for column in old} for old, row in zip(before[name], after[name], strict=True)]
        assert kept == before[name], name
    downgrade(old_url, "0001")
    assert _contents(old_url) == before
    assert _shape(old_url) == shape
    bring_up(old_url)
    assert _contents(old_url) == after


def test_old_events_get_the_new_hash_and_wait_to_be_sealed_in_order(old_url: str) -> None:
    bring_up(old_url)
    with writing(old_url) as conn:
        events = audit_query.query(conn, "acme")
        assert [event.id for event in events] == ["evt_001", "evt_003", "evt_002", "evt_004"]
        rows = {row["id"]: row["data"] for row in EVENTS}
        assert [event.hash for event in events] == [leaf_hash(event, rows[event.id]) for event in events]
        assert sealing.seal(conn, Signer(new_signing_key())).sealed == 4


def test_what_waits_to_be_sealed_is_vouched_for_only_with_the_master_key(old_url: str) -> None:
    before = _contents(old_url)
    with pytest.raises(KeysUnfit, match="countersign migrate"):
        upgrade(old_url, vouch_for_waiting=True)
    assert _contents(old_url) == before


def test_what_waits_to_be_sealed_is_vouched_for_only_when_an_operator_says_so(old_url: str) -> None:
    before = _contents(old_url)
    with pytest.raises(EventsWait, match=r"4 events.*--vouch-for-waiting"):
        upgrade(old_url, vault=VAULT)
    assert _contents(old_url) == before


def test_setting_the_version_back_makes_the_migration_vouch_for_nothing(old_url: str) -> None:
    bring_up(old_url)
    with writing(old_url) as conn:
        sealing.seal(conn, SIGNER)
    downgrade(old_url, "0005")  # as somebody who writes to the database would
    upgrade(old_url, vault=VAULT)  # nothing waits, so nothing is asked
    downgrade(old_url, "0005")
    with writing(old_url) as conn:
        conn.execute(sa.text("INSERT INTO audit_unsealed (event_id, hash) VALUES ('evt_forged', 'h')"))
    with pytest.raises(EventsWait, match="1 events"):
        upgrade(old_url, vault=VAULT)


def test_a_process_of_an_older_version_writes_no_event_any_more(old_url: str) -> None:
    bring_up(old_url)
    with pytest.raises(IntegrityError), writing(old_url) as conn:
        conn.execute(sa.text("INSERT INTO audit_unsealed (event_id, hash) VALUES ('evt_old', 'h')"))


def test_an_upgraded_log_verifies_also_the_second_time(old_url: str) -> None:
    for back_to in ("0006", "0001"):
        bring_up(old_url)
        with writing(old_url) as conn:
            sealing.seal(conn, SIGNER)
        assert _verified(old_url).leaves == 4
        downgrade(old_url, back_to)
    bring_up(old_url)
    with writing(old_url) as conn:
        assert conn.execute(sa.text("SELECT tier FROM audit_events ORDER BY id")).scalars().all() == [
            *[None] * 3,
            "pro",
        ]
        sealing.seal(conn, SIGNER)
    assert _verified(old_url).leaves == 4


def _verified(url: str) -> Intact:
    found = sa.make_url(url)
    if found.get_backend_name() == "sqlite":
        log: SqliteLog | PostgresLog = SqliteLog(Path(str(found.database)))
    else:
        log = PostgresLog(found.set(drivername="postgresql").render_as_string(hide_password=False))
    with contextlib.closing(log):
        return verify(log, VerifyingKey(SIGNER.public), None)


def test_the_names_of_idempotency_keys_are_hidden_and_still_known(old_url: str) -> None:
    key = Key("key_1", "acme", "K", frozenset({Role.CALLER}), Policy("pol_1"), 1.0)
    upgrade(old_url, "0005")
    with writing(old_url) as conn:
        row = {"key_id": "key_1", "name": "order of ada", "tenant": "acme", "body_hash": "b", "owner": "try_1"}
        times = {"lease_expires_at": 1.0, "created_at": 1.0, "expires_at": 9e9, "interaction_id": "chatcmpl_1"}
        conn.execute(sa.insert(idempotency_rows), {**row, **times})
    bring_up(old_url)
    with writing(old_url) as conn:
        found = idempotency.begin(conn, key, "order of ada", "b", "try_2", 15.0, 60.0)
        assert found == idempotency.Replay("chatcmpl_1")
        assert "ada" not in conn.execute(sa.select(idempotency_rows.c.name)).scalar_one()


def test_an_event_that_was_altered_stops_the_upgrade_and_is_named(old_url: str) -> None:
    with writing(old_url) as conn:
        conn.execute(sa.text("UPDATE audit_events SET actor = 'key:other' WHERE id = 'evt_003'"))
    before = _contents(old_url)
    with pytest.raises(EventAltered, match="evt_003"):
        bring_up(old_url)
    assert _contents(old_url) == before


def test_what_the_new_version_wrote_is_taken_back_as_far_as_the_first_can_keep_it(old_url: str) -> None:
    bring_up(old_url)
    with writing(old_url) as conn:
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
        fields = {name: row[name] for name in old_event(1, 1.0) if name not in ("hash", "confidence")}
        text = json.dumps(
            {**fields, "data": json.loads(row["data"])}, sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )
        assert row["hash"] == hashlib.sha256(text.encode()).hexdigest()
    bring_up(old_url)
    with writing(old_url) as conn:
        assert sealing.unsealed(conn) == len(found["audit_events"])
