"""Writes audit events; each carries the hash of its canonical JSON and belongs to one transaction."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

from sqlalchemy import Connection

from storage.audit_tables import audit_events
from storage.database import now
from storage.ids import new_event_id
from storage.records import AuditEvent
from storage.rows import fields_of
from storage.storable import checked_text, to_json

EVENT_KINDS = (
    "key.created",
    "key.revoked",
    "signin.linked",
    "signin.redeemed",
    "signin.ended",
    "policy.created",
    "policy.updated",
    "calibration.stored",
    "calibration.activated",
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
)
_FILTERED = ("key_id", "model", "action", "reason", "reviewer", "verdict", "confidence")  # copied out of `data`


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
    at: float | None = None,
) -> AuditEvent:
    """`at`: the database's clock, where the caller has just read it.

    Raises ValueError for an unknown kind, InvalidValue for data that cannot be kept.
    """
    if kind not in EVENT_KINDS:
        raise ValueError(f"kind: {kind!r} is not one of storage.audit_log.EVENT_KINDS.")
    data = data or {}
    event = AuditEvent(
        id=new_event_id(),
        at=now(conn) if at is None else at,
        tenant=checked_text("tenant", tenant),
        kind=kind,
        actor=checked_text("actor", actor),
        interaction_id=interaction_id,
        item_id=item_id,
        trace_id=trace_id,
        data=data,
    )
    event = dataclasses.replace(event, hash=event_hash(event))
    copies = {name: data.get(name) for name in _FILTERED}
    row = {**fields_of(event), **copies, "data": to_json("data", data)}
    conn.execute(audit_events.insert(), row)
    return event


def event_hash(event: AuditEvent) -> str:
    """SHA-256, in hexadecimal, over the canonical JSON of every field but `hash`."""
    fields = fields_of(event)
    del fields["hash"]
    return hashlib.sha256(to_json("data", fields).encode("utf-8")).hexdigest()
