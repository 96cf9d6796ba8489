"""Tells the log's own events from rows that somebody put beside them."""

from __future__ import annotations

import base64
import struct
from typing import Any

import sqlalchemy as sa

from storage import event_format
from storage.audit_tables import audit_events, audit_leaves, audit_unsealed
from storage.vault import Vault


def with_seals() -> sa.Select[Any]:
    """Events with the hash of their leaf, or with the MAC under which they wait for one."""
    table = audit_events.c
    query = sa.select(audit_events, audit_leaves.c.hash.label("leaf"), audit_unsealed.c.vouched.label("mac"))
    query = query.join_from(audit_events, audit_leaves, audit_leaves.c.event_id == table.id, isouter=True)
    return query.join(audit_unsealed, audit_unsealed.c.event_id == table.id, isouter=True)


def is_the_logs(vault: Vault, row: sa.Row[Any]) -> bool:
    """Whether the event is sealed, or waits as the product wrote it, and has the private facts that it committed to."""
    try:
        hash_ = event_format.leaf_hash_of(tuple(row._mapping[name] for name in event_format.HASHED))
        if row.sealed is not None:
            facts = event_format.commitment(bytes.fromhex(row.salt), base64.b64decode(row.sealed))
            if facts != row.commitment:
                return False
    except (TypeError, ValueError, struct.error):  # nothing that the product wrote
        return False
    return row.leaf == hash_ or vault.vouched(event_format.waiting(row.id, hash_), row.mac)
