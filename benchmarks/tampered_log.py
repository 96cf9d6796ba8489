"""Makes a real audit log through the product's own storage: all kinds of stories, sealed in several checkpoints."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from storage import audit_log, erasure, interactions, keys, policies, recording, retention, reviews, sealing
from storage.checkpoint_file import CheckpointFile
from storage.checkpoints import Signer, new_signing_key
from storage.database import Database, migrate, now, open_database
from storage.ids import new_id
from storage.records import Action, Decision, Interaction, ItemState, Key, Reason, ReviewItem, Role, VerdictKind
from storage.storable import content_hash
from storage.vault import Vault
from verifier.events import COLUMNS
from verifier.reading import Tables

TENANT = "acme"
_NEVER_MADE_UP = {"subject.erased", "interaction.deleted", "audit.purged"}  # they mean that something is gone
_EVENTS_A_CHECKPOINT = 48
_OLD = 12  # events that a purge will have removed
_OLD_SECONDS = (retention.FLOOR_DAYS + 1) * 86_400.0
_TABLES = {
    "audit_events": ", ".join(COLUMNS),
    "audit_leaves": "leaf_index, event_id, hash",
    "audit_unsealed": "event_id, hash",
    "audit_nodes": "level, position, hash",
    "audit_checkpoints": "tree_size, note",
}


@dataclass(frozen=True)
class RealLog:
    """A log as the product left it: its file or server, its tables, and what is kept outside."""

    url: str
    tables: Tables
    outside: Path
    vkey: str


def real_log(url: str, folder: Path, events: int) -> RealLog:
    """At least `events` sealed events, and a few that wait. `url`: a database without tables."""
    migrate(url)
    database = open_database(url, Vault(os.urandom(32)))
    signing_key, outside = new_signing_key(), CheckpointFile(folder / "checkpoints.jsonl")
    signer = Signer(signing_key)
    try:
        _begin(database, _LongAgo(signing_key))
        _tell(database, signer, outside, events)
        tables = tables_of(database)
    finally:
        database.close()
    return RealLog(url, tables, outside.path, signer.public)


def tables_of(database: Database) -> Tables:
    with database.read() as conn:
        read = {
            table: [tuple(row) for row in conn.exec_driver_sql(f"SELECT {columns} FROM {table} ORDER BY 1, 2")]  # noqa: S608
            for table, columns in _TABLES.items()
        }
    return Tables(**read)


class _LongAgo(Signer):
    """Signs as it would have been signed when the first events happened."""

    def sign(self, size: int, root: bytes, sealed_at: float) -> str:
        return super().sign(size, root, sealed_at - _OLD_SECONDS)


def _begin(database: Database, signer: Signer) -> None:
    """Events that a purge will remove: old, and sealed long ago."""
    with database.transaction() as conn:
        for _ in range(_OLD):
            audit_log.append(conn, "calibration.stored", "system", TENANT, at=now(conn) - _OLD_SECONDS)
        sealing.seal(conn, signer)


def _tell(database: Database, signer: Signer, outside: CheckpointFile, events: int) -> None:
    """Stories one after another, each step its own transaction; a checkpoint whenever enough events wait."""
    sealed = 0
    for story in _stories(database):
        with database.transaction() as conn:
            story(conn)
        with database.read() as conn:
            waiting = sealing.unsealed(conn)
        if waiting >= _EVENTS_A_CHECKPOINT or sealed + waiting >= events:
            with database.transaction() as conn:
                first, sealed = sealed == 0, sealing.seal(conn, signer).size
            outside.publish(database)
            if first:
                retention.purge(database, retention.FLOOR_DAYS, "system")
        if sealed >= events:
            break
    with database.transaction() as conn:  # what the sealer has not seen yet
        keys.create(conn, TENANT, "Nora", [Role.AUDITOR])


def _stories(database: Database) -> Iterator[Callable[[Connection], object]]:
    with database.transaction() as conn:
        caller = keys.create(conn, TENANT, "chat", [Role.CALLER])[0]
        ada, bob = (keys.create(conn, TENANT, name, [Role.REVIEWER])[0] for name in ("Ada", "Bob"))
        policies.create_policy(conn, TENANT, name="careful", threshold=0.9)
    for kind in audit_log.EVENT_KINDS:
        if kind not in _NEVER_MADE_UP:
            yield lambda conn, kind=kind: _made_up(conn, kind)  # type: ignore[misc]
    number = 0
    while True:
        number += 1
        yield from _interaction(number, caller, ada, bob)


def _made_up(conn: Connection, kind: str) -> None:
    """One event of each kind that the product knows, whether or not a story below leads to it."""
    facts = {"key_id": "key_1", "reason": "low_confidence", "text": "ünï¢ode ✓", "numbers": [1, 2.5, -0.0, 1e300]}
    audit_log.append(conn, kind, "system", TENANT, item_id=new_id("rev"), data=facts)


def _interaction(number: int, caller: Key, ada: Key, bob: Key) -> Iterator[Callable[[Connection], object]]:
    """One question, and by turns what becomes of it: released, approved, edited, rejected, referred, deleted."""
    made: dict[str, tuple[Interaction, ReviewItem | None]] = {}
    action = Action.RELEASE if number % 3 == 0 else Action.HOLD
    yield lambda conn: made.update(it=_record(conn, caller, number, action))
    asked, item = made["it"]
    if item is not None:
        kinds = (VerdictKind.APPROVE, VerdictKind.EDIT, VerdictKind.REJECT, VerdictKind.REFER)
        yield lambda conn: _decide(conn, item, ada, kinds[number % 4])
        if kinds[number % 4] is VerdictKind.REFER:
            yield lambda conn: _decide(conn, item, bob, VerdictKind.APPROVE)
    if number % 5 == 0:
        yield lambda conn: interactions.delete(conn, asked.id, TENANT, f"key:{caller.id}")
    if number % 11 == 0:
        yield lambda conn: erasure.erase_subject(conn, TENANT, f"person {number % 9}", f"key:{caller.id}")


def _decide(conn: Connection, item: ReviewItem, reviewer: Key, kind: VerdictKind) -> None:
    claim = reviews.claim(conn, item.id, reviewer, 600.0)
    content = "The answer is 42." if kind is VerdictKind.EDIT else None
    reviews.decide(conn, item.id, reviewer, claim.fencing_token, kind, "So it is written.", content)


def _record(conn: Connection, caller: Key, number: int, action: Action) -> tuple[Interaction, ReviewItem | None]:
    at, text = now(conn), f"It is {number}."
    confidence = 0.97 if action is Action.RELEASE else None if number % 7 == 0 else 0.3125
    reason = Reason.CONFIDENT if action is Action.RELEASE else Reason.LOW_CONFIDENCE
    interaction = Interaction(
        id=new_id("chatcmpl"),
        tenant=TENANT,
        key_id=caller.id,
        model="countersign-reference",
        served_model="countersign-reference@0123456789ab",
        messages=({"role": "user", "content": f"What is {number}?"},),
        params={"user": f"person {number % 9}"},
        answer={"text": text, "finish_reason": "stop"},
        content_hash=content_hash(text),
        confidence=confidence,
        calibration_id="cal_1",
        created_at=at,
        request_id=new_id("req"),
        trace_id="0af7651916cd43dd8448eb211c80319c" if number % 2 else None,
    )
    decision = Decision(
        id=new_id("dec"),
        interaction_id=interaction.id,
        action=action,
        reason=reason,
        confidence=confidence,
        threshold=0.85,
        calibration_id="cal_1",
        policy_id="pol_1",
        policy_version=1,
        content_hash=interaction.content_hash,
        created_at=at,
    )
    item = _item(interaction, at) if action is Action.HOLD else None
    recording.record(conn, interaction, decision, item)
    return interaction, item


def _item(interaction: Interaction, at: float) -> ReviewItem:
    return ReviewItem(
        id=new_id("rev"),
        interaction_id=interaction.id,
        tenant=TENANT,
        state=ItemState.PENDING,
        version=1,
        urgency=at,
        reason=Reason.LOW_CONFIDENCE,
        action=Action.HOLD,
        domain="arithmetic",
        created_at=at,
        expires_at=at + 86_400.0,
    )
