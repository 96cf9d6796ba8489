"""Writes audit events into the transaction in which they happen, public facts hashed and private facts sealed."""

from __future__ import annotations

import base64
import dataclasses
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from storage import event_format
from storage.audit_tables import FILTER_MARKS, audit_events, audit_unsealed
from storage.bulk import insert_rows
from storage.database import now
from storage.ids import new_ordered_id
from storage.records import AuditEvent
from storage.storable import checked_text, to_json
from storage.subjects import Subject, by_ids
from storage.vault import Vault, seal, vault_of

EVENT_KINDS = (
    "key.created",
    "key.updated",
    "key.revoked",
    "signin.linked",
    "signin.redeemed",
    "signin.ended",
    "policy.created",
    "policy.updated",
    "calibration.stored",
    "calibration.activated",
    "certificate.stored",
    "certificate.activated",
    "certificate.suspended",  # by the watch's alarm, or by an operator
    "watch.advanced",  # audited answers were counted: how many in all, and the watch's wealth
    "interaction.recorded",
    "interaction.deleted",
    "decision",
    "review.created",
    "review.claimed",
    "review.claim_released",
    "review.claim_lapsed",
    "review.extended",
    "review.referred",
    "review.reopened",  # after a referral: waits for a different person
    "review.approved",
    "review.edited",
    "review.rejected",
    "review.expired",
    "review.quarantined",
    "review.withdrawn",
    "verdict.refused",
    "subject.erased",  # its key is destroyed, and with it the private facts of its events
    "hold.placed",
    "hold.lifted",
    "audit.purged",  # events before a leaf were removed, after their retention
    "log.intrusion",  # rows that the product did not write waited to be sealed, and were refused
    "records.vouched",  # decisions and verdicts of before there were MACs were given theirs
    "access.review",  # a reviewer was shown a case
    "access.completion",  # a caller came back for an answer or its messages
    "access.events",  # an auditor was shown private facts
    "access.export",  # who took the log, or a part of it, away
)
_KNOWN = frozenset(EVENT_KINDS)
_FILTERED = (*FILTER_MARKS, "confidence")  # copied out of `data`
OPERATIONS_TENANT = "default"  # whose auditors see what concerns the whole log


_TOGETHER = "audit events to be written together"


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to be written."""

    kind: str
    actor: str
    tenant: str
    interaction_id: str | None = None
    item_id: str | None = None
    trace_id: str | None = None
    data: dict[str, Any] = dataclasses.field(default_factory=dict)  # public facts: they are never erased
    private: dict[str, Any] | None = None  # facts that could identify or quote a person; dropped without a vault
    subject: Subject | str | None = None  # whose private facts; an id is looked up
    at: float | None = None  # unix seconds; None: the database's clock


def append(
    conn: Connection,
    kind: str,
    actor: str,
    tenant: str,
    *,
    interaction_id: str | None = None,
    item_id: str | None = None,
    trace_id: str | None = None,
    data: dict[str, Any] | None = None,
    private: dict[str, Any] | None = None,
    subject: Subject | str | None = None,
    at: float | None = None,
) -> AuditEvent:
    """`append_many` for one; `at`: the database's clock, where the caller has just read it."""
    event = NewEvent(kind, actor, tenant, interaction_id, item_id, trace_id, data or {}, private, subject, at)
    return append_many(conn, [event])[0]


def append_many(conn: Connection, events: Sequence[NewEvent]) -> list[AuditEvent]:
    """Writes the events and the note that they wait to be sealed, in one statement each.

    Private facts are sealed under their subject's key; an erased subject's, and all of them without a vault, are
    dropped. What is written without a vault is not vouched for, and the sealer refuses it. Raises, before anything is
    written, ValueError for an unknown kind and for private facts without a subject, InvalidValue for what cannot be
    kept.
    """
    if not events:
        return []
    gathered: list[dict[str, Any]] | None = conn.info.get(_TOGETHER)
    at = _clock(conn, gathered) if any(event.at is None for event in events) else 0.0
    can_seal = vault_of(conn) is not None
    asked = {event.subject for event in events if event.private and isinstance(event.subject, str)}
    known = by_ids(conn, asked)
    made = [_made(event, at, _key(event, known) if can_seal and event.private else None) for event in events]
    rows = [row for _, row in made]
    if gathered is None:
        _insert(conn, rows)
    else:
        gathered.extend(rows)
    return [event for event, _ in made]


@contextmanager
def together(conn: Connection) -> Iterator[None]:
    """What is appended within the block is written at its end, in one statement a table; the log lacks it until then.

    Nothing is written when the block raises: then its transaction, or its savepoint, is to be rolled back.
    """
    gathered: list[dict[str, Any]] = []
    info = conn.info  # of a connection that broke meanwhile it cannot be asked again
    info[_TOGETHER] = gathered
    try:
        yield
        _insert(conn, gathered)
    finally:
        info.pop(_TOGETHER, None)


def event_hash(event: AuditEvent) -> str:
    """The leaf hash over the canonical text of its data, as `append` wrote it."""
    return event_format.leaf_hash(event, to_json("data", event.data))


def _clock(conn: Connection, gathered: list[dict[str, Any]] | None) -> float:
    """The database's, or the time of the event just before in the same block."""
    return float(gathered[-1]["at"]) if gathered else now(conn)


def _key(event: NewEvent, known: dict[str, Subject]) -> bytes | None:
    subject = known.get(event.subject) if isinstance(event.subject, str) else event.subject
    if subject is None:
        raise ValueError(f"subject: event {event.kind!r} has private facts, and nobody whose they are.")
    return subject.key


def _made(event: NewEvent, at: float, key: bytes | None) -> tuple[AuditEvent, dict[str, Any]]:
    """The event and its row."""
    if event.kind not in _KNOWN:
        raise ValueError(f"kind: {event.kind!r} is not one of storage.audit_log.EVENT_KINDS.")
    event_id, facts, data = new_ordered_id("evt"), event.data, to_json("data", event.data)
    commitment, salt, sealed = _sealed(event_id, event.private, key)
    happened = float(at if event.at is None else event.at)
    who = checked_text("tenant", event.tenant), event.kind, checked_text("actor", event.actor)
    about = event.interaction_id, event.item_id, event.trace_id
    subject = event.subject.id if isinstance(event.subject, Subject) else event.subject
    columns = (event_id, happened, *who, *about, data, subject, commitment)
    hash_ = event_format.leaf_hash_of(columns)
    row = dict(zip(event_format.HASHED, columns, strict=True))
    row |= {"hash": hash_, "salt": salt, "sealed": sealed, **{name: facts.get(name) for name in _FILTERED}}
    return AuditEvent(event_id, happened, *who, *about, facts, hash_, subject, commitment), row


def _sealed(event_id: str, facts: dict[str, Any] | None, key: bytes | None) -> tuple[str | None, ...]:
    """Commitment, salt and sealed facts as they are stored; None each when there is nothing to seal."""
    if not facts or key is None:
        return None, None, None
    salt, sealed = os.urandom(16), seal(key, to_json("private", facts), event_id)
    return event_format.commitment(salt, sealed), salt.hex(), base64.b64encode(sealed).decode()


def _insert(conn: Connection, rows: list[dict[str, Any]]) -> None:
    insert_rows(conn, audit_events, rows)
    insert_rows(conn, audit_unsealed, [_waiting(vault_of(conn), row["id"], row["hash"]) for row in rows])


def _waiting(vault: Vault | None, event_id: str, hash_: str) -> dict[str, Any]:
    vouched = "" if vault is None else vault.vouch(event_format.waiting(event_id, hash_))
    return {"event_id": event_id, "hash": hash_, "vouched": vouched}
