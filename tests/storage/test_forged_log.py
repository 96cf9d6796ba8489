"""Whoever writes to the database cannot have an operator vouch for records by writing the log that tells of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from storage import earlier_records, event_format, merkle, vouched_records
from storage.audit_tables import audit_checkpoints, audit_events, audit_leaves, audit_unsealed
from storage.checkpoints import Signer, new_signing_key
from storage.database import Database
from storage.errors import KeysUnfit, TreeDamaged
from storage.records import Action, Key
from storage.schema_errors import NothingOfBefore
from storage.storable import content_hash, to_json
from storage.tables import decisions, interactions, review_items
from tests.storage.logs import SIGNER, leaves, seal_all
from tests.storage.made import held, record

FORGED, TEXT = "evt_forged", "FORGED"


@pytest.fixture
def forged(database: Database, caller: Key) -> str:
    """A held answer's interaction, rewritten as one of before that was released, with the event that would tell so."""
    item = held(database, caller)
    seal_all(database)
    with database.transaction() as conn:
        rewrite(conn, item.interaction_id)
        tell(conn, item.interaction_id)
    return item.interaction_id


def rewrite(conn: sa.Connection, interaction_id: str) -> None:
    hash_ = content_hash(TEXT)
    free = {"action": "release", "reason": "confident", "confidence": 0.99, "content_hash": hash_, "vouched": None}
    answer = to_json("answer", {"text": TEXT})
    asked = sa.update(interactions).where(interactions.c.id == interaction_id)
    conn.execute(asked.values(answer=answer, content_hash=hash_))
    conn.execute(sa.update(decisions).where(decisions.c.interaction_id == interaction_id).values(free))
    conn.execute(sa.delete(review_items).where(review_items.c.interaction_id == interaction_id))
    theirs = sa.select(audit_events.c.id).where(audit_events.c.interaction_id == interaction_id)
    for table in (audit_unsealed, audit_events):  # what the log does tell
        mark = table.c.event_id if table is audit_unsealed else table.c.id
        conn.execute(sa.delete(table).where(mark.in_(theirs)))


def tell(conn: sa.Connection, interaction_id: str) -> None:
    row = conn.execute(sa.select(decisions).where(decisions.c.interaction_id == interaction_id)).one()._mapping
    asked = conn.execute(sa.select(interactions).where(interactions.c.id == interaction_id)).one()._mapping
    names = ("action", "reason", "confidence", "threshold", "policy_id", "policy_version", "content_hash")
    data = {name: row[name] for name in names} | {"decision_id": row["id"], "calibration": row["calibration_id"]}
    data |= {name: asked[name] for name in ("key_id", "model", "served_model")}
    columns: event_format.Columns = (
        FORGED, 1_000.0, "acme", "decision", "key:x", interaction_id, None, None, to_json("data", data), None, None
    )  # fmt: skip
    event = dict(zip(event_format.HASHED, columns, strict=True))
    event |= {name: data[name] for name in ("key_id", "model", "action", "reason", "confidence")}
    conn.execute(audit_events.insert(), {**event, "hash": event_format.leaf_hash_of(columns)})


def vouch(database: Database, *, again: bool = False) -> tuple[int, list[str]]:
    return earlier_records.vouch_for_earlier(database, "operator", SIGNER, again=again)


def hash_of_forged(conn: sa.Connection) -> str:
    return str(conn.execute(sa.select(audit_events.c.hash).where(audit_events.c.id == FORGED)).scalar_one())


def add_leaf(conn: sa.Connection, **changes: Any) -> None:
    size = conn.execute(sa.select(sa.func.count()).select_from(audit_leaves)).scalar_one()
    leaf = {"leaf_index": size, "event_id": FORGED, "hash": hash_of_forged(conn), **changes}
    conn.execute(audit_leaves.insert(), leaf)


def far_leaf(conn: sa.Connection) -> None:
    add_leaf(conn, leaf_index=1_000_000)


def leaf_before_the_first(conn: sa.Connection) -> None:
    add_leaf(conn, leaf_index=-1)


def replaced_leaf(conn: sa.Connection) -> None:
    place = sa.update(audit_leaves).where(audit_leaves.c.leaf_index == 0)
    conn.execute(place.values(event_id=FORGED, hash=hash_of_forged(conn)))


def leaf_that_is_none(conn: sa.Connection) -> None:
    add_leaf(conn)
    conn.execute(sa.update(audit_leaves).where(audit_leaves.c.leaf_index == 0).values(hash="none"))


def nothing_signed(conn: sa.Connection) -> None:
    add_leaf(conn)
    conn.execute(sa.delete(audit_checkpoints))


def test_in_a_database_of_this_version_there_is_nothing_to_vouch_for(database: Database, forged: str) -> None:
    with pytest.raises(NothingOfBefore, match="no decision of before"):
        vouch(database)
    assert vouch(database, again=True) == (0, [forged])
    assert vouched_records.check(database).first_bad == forged


@pytest.mark.parametrize(
    "put", [add_leaf, far_leaf, leaf_before_the_first, replaced_leaf, leaf_that_is_none, nothing_signed]
)
@pytest.mark.parametrize("again", [False, True])
def test_a_leaf_that_nobody_signed_seals_nothing(
    database: Database, forged: str, put: Callable[[sa.Connection], None], again: bool
) -> None:
    with database.transaction() as conn:
        put(conn)
    with pytest.raises(TreeDamaged, match="countersign-verify log"):
        vouch(database, again=again)
    assert vouched_records.check(database).first_bad == forged


def test_a_tree_that_somebody_else_signed_seals_nothing(database: Database, forged: str) -> None:
    with database.transaction() as conn:
        add_leaf(conn)
    grown = merkle.Frontier()
    grown.append([leaf for _, _, leaf in leaves(database)])
    note = Signer(new_signing_key()).sign(grown.size, grown.root(), 2_000_000_000.0)
    with database.transaction() as conn:
        conn.execute(audit_checkpoints.insert(), {"tree_size": grown.size, "note": note})
    with pytest.raises(KeysUnfit):
        vouch(database)


@pytest.mark.parametrize(("salt", "vouched"), [(None, 1), ("00" * 16, 0)])
def test_private_facts_count_that_their_event_committed_to(database: Database, caller, salt, vouched) -> None:
    with database.transaction() as conn:
        asked, _ = record(conn, caller, Action.RELEASE)
        conn.execute(sa.update(decisions).values(vouched=None))
        if salt is not None:
            conn.execute(sa.update(audit_events).where(audit_events.c.kind == "decision").values(salt=salt))
    assert vouch(database, again=True) == (vouched, [] if vouched else [asked.id])
