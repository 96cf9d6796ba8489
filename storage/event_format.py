"""Knows the bytes that an audit event of version 2 is hashed over; docs/audit-log.md spells them out."""

from __future__ import annotations

import hashlib
import struct

from storage.records import AuditEvent

HASHED = (
    "id", "at", "tenant", "kind", "actor", "interaction_id", "item_id", "trace_id", "data", "subject", "commitment"
)  # fmt: skip
Columns = tuple[str | float | None, ...]
_PREFIX = b"countersign/event/2"
_LEAF = b"\x00"  # RFC 9162, section 2.1.1: leaves and nodes never have the same bytes
_NOTHING = b"\x00"
_text_head = struct.Struct(">BI").pack  # 0x01, length of the UTF-8 in bytes
_number = struct.Struct(">Bd").pack  # 0x02, IEEE-754 double


def frame(value: str | float | None) -> bytes:
    """The value with its type and length, so that no two rows of values have the same bytes."""
    if value is None:
        return _NOTHING
    if isinstance(value, str):
        encoded = value.encode("utf-8")
        return _text_head(1, len(encoded)) + encoded
    return _number(2, value)


def preimage(event: AuditEvent, data: str) -> bytes:
    """`data`: the event's public facts as the text that is stored; hashed as it stands, never written anew."""
    before = (event.id, event.at, event.tenant, event.kind, event.actor)
    about = (event.interaction_id, event.item_id, event.trace_id)
    return _framed((*before, *about, data, event.subject, event.commitment))


def leaf_hash(event: AuditEvent, data: str) -> str:
    """RFC 9162's hash of a leaf, in hexadecimal."""
    return hashlib.sha256(_LEAF + preimage(event, data)).hexdigest()


def leaf_hash_of(columns: Columns) -> str:
    """`leaf_hash` of an event that is only now being made; the columns in the order of HASHED."""
    return hashlib.sha256(_LEAF + _framed(columns)).hexdigest()


def waiting(event_id: str, hash_: str) -> bytes:
    """What the product's MAC is over while the event waits to be sealed; the leaf hash in hexadecimal."""
    return f"countersign/waiting/1\x00{event_id}\x00{hash_}".encode("utf-8", "surrogatepass")


def _framed(columns: Columns) -> bytes:
    return _PREFIX + b"".join(map(frame, columns))


def commitment(salt: bytes, sealed: bytes) -> str:
    """What stays of private facts that were erased: SHA-256 of salt and ciphertext, in hexadecimal."""
    return hashlib.sha256(salt + sealed).hexdigest()
