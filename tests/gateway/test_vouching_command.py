"""What an operator is told of records that were not written here, and what they vouch for, from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from storage import audit_log, audit_query, keys, log_keys, subjects
from storage.audit_query import Filters
from storage.audit_tables import audit_events, audit_unsealed
from storage.database import Database
from storage.records import Action, Role
from storage.tables import decisions
from storage.tables import keys as key_rows
from tests.gateway.conftest import Done
from tests.storage.made import record


def test_vouched_names_the_first_record_that_was_altered(run: Callable[..., Done], log: Database) -> None:
    with log.transaction() as conn:
        caller, _ = keys.create(conn, "acme", "chat", [Role.CALLER])
        first, second = sorted(record(conn, caller, Action.RELEASE)[0].id for _ in range(2))
    good = run("vouched")
    told = "2 decisions and 0 verdicts are as they were written; 0 interactions were deleted.\n"
    assert (good.returncode, good.stdout, good.stderr) == (0, told, "")
    with log.transaction() as conn:
        conn.execute(sa.update(decisions).where(decisions.c.interaction_id == second).values(threshold=0.1))
        conn.execute(sa.update(decisions).where(decisions.c.interaction_id == first).values(vouched=None))
    bad = run("vouched", "--json")
    assert (bad.returncode, json.loads(bad.stdout)["first_bad"]) == (1, first)
    assert bad.stderr == (
        "2 interactions are not as they were written, or not as the audit log tells. "
        f"The first: {first}: its decision is not_vouched_yet.\n"
    )


def test_vouched_names_a_key_that_was_given_more_than_the_log_tells(run: Callable[..., Done], log: Database) -> None:
    with log.transaction() as conn:
        mine = sa.update(key_rows).where(key_rows.c.tenant == "acme").values(roles="admin,reviewer")
        key_id = conn.execute(mine.returning(key_rows.c.id)).scalar_one()
    bad = run("vouched")
    assert (bad.returncode, bad.stderr) == (1, f"Key {key_id} has not the roles that the log tells of.\n")
    told = json.loads(run("vouched", "--json").stdout)
    assert (told["bad"], told["rights"]) == (0, [f"key {key_id} has not the roles that the log tells of"])


def test_vouch_asks_first_and_is_done_once(run: Callable[..., Done], log: Database) -> None:
    with log.transaction() as conn:
        caller, _ = keys.create(conn, "acme", "chat", [Role.CALLER])
        earlier = record(conn, caller, Action.RELEASE)[0].id
        as_of_before(conn, earlier)
    assert run("vouch").returncode == 1  # "n"
    done = run("vouch", "--yes")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Vouched for 1 interactions.\n", "")
    assert run("vouched").returncode == 0
    with log.transaction() as conn:
        conn.execute(sa.update(decisions).where(decisions.c.interaction_id == earlier).values(vouched=None))
    again = run("vouch", "--yes")
    assert again.returncode == 1
    assert again.stderr.startswith("countersign: The records of before were vouched for already")
    assert run("vouched").returncode == 1
    again = run("vouch", "--yes", "--again")
    assert (again.returncode, again.stdout) == (0, "Vouched for 1 interactions.\n")


def test_vouch_refuses_a_log_that_was_set_back(run: Callable[..., Done], log: Database, home: Path) -> None:
    outside = home / "audit" / log_keys.CHECKPOINTS
    outside.write_text('{"size": 900, "note": "of what is not there any more"}\n', encoding="utf-8")
    refused = run("vouch", "--yes")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "it was set back or rewritten" in refused.stderr
    outside.unlink()
    outside.mkdir()
    refused = run("vouch", "--yes")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"{outside} cannot be read or written" in refused.stderr


def as_of_before(conn: sa.Connection, interaction_id: str) -> None:
    """The records and the log of one question as a version without MACs left them."""
    (told,) = audit_query.query(conn, "acme", Filters(interaction_id=interaction_id, kinds=["decision"]))
    (revealed,) = subjects.revealed(conn, [told])
    data = {name: value for name, value in told.data.items() if name != "tier"} | (revealed.private or {})
    mine = sa.select(audit_events.c.id).where(audit_events.c.interaction_id == interaction_id)
    conn.execute(sa.delete(audit_unsealed).where(audit_unsealed.c.event_id.in_(mine)))
    conn.execute(sa.delete(audit_events).where(audit_events.c.interaction_id == interaction_id))
    audit_log.append(conn, "decision", told.actor, "acme", interaction_id=interaction_id, data=data)
    conn.execute(sa.update(decisions).where(decisions.c.interaction_id == interaction_id).values(vouched=None))
