"""Keeps what the product did not write out of the tree: such rows are taken out of the line, and the log says so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage import audit_log, subjects
from storage.audit_tables import audit_leaves, audit_unsealed
from storage.event_format import waiting
from storage.vault import Vault

NOT_VOUCHED = "not_vouched"  # no MAC, or not the product's: put into the database by somebody else
SEALED_BEFORE = "sealed_before"  # waits although it is in the tree: put back by somebody else
_NAMED = 10  # events that are named in one go
_LONGEST = 100  # characters of an id: what was put there may be anything


@dataclass(frozen=True, slots=True)
class Intrusion:
    """Rows of `audit_unsealed` that are no part of the log."""

    why: str
    rows: int
    events: tuple[str, ...]  # what the first of them say their events' ids are


def strangers(vault: Vault, rows: Iterable[Any]) -> list[Any]:
    """Those of the waiting rows (event id, hash, MAC) that nobody with the master key wrote."""
    return [row for row in rows if not _ours(vault, *row)]


def refuse(conn: Connection, rows: Sequence[Any], why: str) -> Intrusion:
    """Takes these rows out of the line and appends the event that says so. What stands in `audit_events` stays there,
    as evidence that `countersign-verify` names.

    Raises WrongMasterKey, before anything is changed, where the product itself writes under another master key.
    """
    subjects.require_own_master(conn)
    ids = [row.event_id for row in rows]
    conn.execute(
        sa.delete(audit_unsealed).where(audit_unsealed.c.event_id == sa.bindparam("id")), [{"id": i} for i in ids]
    )
    named = [_shown(id_) for id_ in ids[:_NAMED]]
    audit_log.append(
        conn,
        "log.intrusion",
        "system",
        audit_log.OPERATIONS_TENANT,
        data={"why": why, "rows": len(ids), "events": named},
    )
    return Intrusion(why, len(ids), tuple(named))


def refuse_put_back(conn: Connection, limit: int) -> Intrusion | None:
    """Refuses rows that wait although they are sealed: a turn seals and takes out of the line in one transaction."""
    both = sa.select(audit_unsealed.c.event_id).join(audit_leaves, audit_leaves.c.event_id == audit_unsealed.c.event_id)
    rows = conn.execute(both.order_by(audit_unsealed.c.event_id).limit(limit)).all()
    return refuse(conn, rows, SEALED_BEFORE) if rows else None


def _ours(vault: Vault, event_id: object, hash_: object, mac: object) -> bool:
    return isinstance(event_id, str) and isinstance(hash_, str) and vault.vouched(waiting(event_id, hash_), mac)


def _shown(event_id: object) -> str:
    text = str(event_id)[:_LONGEST]
    return text.encode("ascii", "backslashreplace").decode().replace("\x00", "")
