"""Who gives themselves a key, a role or a lenient policy past the program is named by the audit log."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import sqlalchemy as sa

from storage import audit_log, erasure, keys, policies, rights_told
from storage.audit_tables import audit_events, audit_unsealed
from storage.database import Database, now
from storage.records import Action, Key, Role
from storage.tables import keys as key_rows
from storage.tables import policies as policy_rows
from tests.storage.logs import seal_all


@pytest.fixture
def eve(database: Database) -> Key:
    """A reviewer with skills, an expiry and a policy of their own, whose key was revoked."""
    with database.transaction() as conn:
        policy = policies.create_policy(conn, "acme", name="own", threshold=0.9)
        policies.update_policy(conn, policy.id, "acme", below=Action.FLAG, four_eyes=True)
        key, _ = keys.create(
            conn, "acme", "Eve", [Role.REVIEWER, Role.AUDITOR], policy.id, now(conn) + 9e6, skills=["law"]
        )
        keys.set_skills(conn, key.id, "acme", ["law", "tax"], "key:admin")
        return keys.revoke(conn, key.id, "acme", "key:admin")


def told(database: Database) -> str:
    return "; ".join(rights_told.otherwise(database))


def test_what_the_program_did_is_as_the_log_tells(database: Database, eve: Key, caller: Key) -> None:
    assert told(database) == ""
    seal_all(database)
    with database.transaction() as conn:
        erasure.erase_subject(conn, "acme", f"key:{eve.id}", "key:admin")
    assert told(database) == ""


FORGED_KEY: dict[str, Any] = {
    "roles": "admin", "skills": None, "expires_at": None, "revoked_at": None, "tenant": "other", "policy_id": "pol_x",
    "secret_hash": hashlib.sha256(b"mine").hexdigest(),
}  # fmt: skip
FORGED_POLICY: dict[str, Any] = {
    "threshold": 0.0, "below": "release", "review_seconds": 9e9, "tier": "ultra", "four_eyes": False, "tenant": "other"
}  # fmt: skip


@pytest.mark.parametrize("column", FORGED_KEY)
def test_a_key_that_was_changed_is_named(database: Database, eve: Key, column: str) -> None:
    with database.transaction() as conn:
        conn.execute(sa.update(key_rows).where(key_rows.c.id == eve.id).values({column: FORGED_KEY[column]}))
    what = "revoked" if column == "revoked_at" else column
    assert told(database) == f"key {eve.id} has not the {what} that the log tells of"


@pytest.mark.parametrize("column", FORGED_POLICY)
def test_a_policy_that_was_changed_is_named(database: Database, eve: Key, column: str) -> None:
    newest = (policy_rows.c.id == eve.policy.id, policy_rows.c.version == 2)
    with database.transaction() as conn:
        conn.execute(sa.update(policy_rows).where(*newest).values({column: FORGED_POLICY[column]}))
    assert told(database) == f"policy {eve.policy.id}, version 2, has not the {column} that the log tells of"


def test_what_was_put_there_is_named_also_beside_an_event_of_theirs(database: Database, eve: Key) -> None:
    with database.transaction() as conn:
        row = {
            "id": "key_x",
            "tenant": "acme",
            "name": "Ada",
            "secret_hash": "x",
            "roles": "reviewer",
            "created_at": 1.0,
        }
        conn.execute(key_rows.insert(), {**row, "policy_id": eve.policy.id})
        version = conn.execute(sa.select(policy_rows).where(policy_rows.c.version == 2)).one()._asdict()
        conn.execute(policy_rows.insert(), {**version, "version": 3, "threshold": 0.0})
        data = {
            "key_id": "key_x",
            "roles": ["reviewer"],
            "policy_id": eve.policy.id,
            "expires_at": None,
            "skills": None,
        }
        event = audit_log.append(conn, "key.created", "key:x", "acme", data=data)
        conn.execute(sa.update(audit_unsealed).where(audit_unsealed.c.event_id == event.id).values(vouched="forged"))
    assert told(database) == (
        "key key_x is there, and the log tells of no key.created of it; "
        f"policy {eve.policy.id}, version 3, is there, and the log tells of no such version"
    )


def test_what_was_made_before_a_purge_is_not_named(database: Database, eve: Key) -> None:
    age = 200 * 86_400.0
    with database.transaction() as conn:
        for table, column in ((audit_events, "at"), (key_rows, "created_at"), (policy_rows, "created_at")):
            conn.execute(sa.update(table).values({column: table.c[column] - age}))
        conn.execute(sa.delete(audit_unsealed))
        conn.execute(sa.delete(audit_events))
        audit_log.append(conn, "audit.purged", "operator", "default", data={"cutoff": now(conn) - 190 * 86_400.0})
    assert told(database) == ""
    with database.transaction() as conn:
        conn.execute(sa.update(key_rows).values(created_at=now(conn)))
    assert told(database) == f"key {eve.id} is there, and the log tells of no key.created of it"
