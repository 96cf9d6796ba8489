"""Knows event format version 2: recomputes an event's leaf hash from its columns, and what else must agree with it."""

from __future__ import annotations

import json
import struct
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Collection, Sequence
from hashlib import sha256
from math import copysign
from typing import Any, NamedTuple

# The columns of a stored event, in the order in which readers hand them over.
HASHED = (
    "id",
    "at",
    "tenant",
    "kind",
    "actor",
    "interaction_id",
    "item_id",
    "trace_id",
    "data",
    "subject",
    "commitment",
)
TEXT_COPIES = ("key_id", "model", "action", "reason", "reviewer", "verdict", "tier")
COPIES = (*TEXT_COPIES, "confidence")  # of what `data` says: a reader takes them for the event
COLUMNS = (*HASHED, "hash", "salt", "sealed", *COPIES)

_START = b"\x00countersign/event/2"  # 0x00: a leaf, as RFC 9162 tells leaves from nodes
_NULL = b"\x00"
_TEXT = b"\x01"
_DOUBLE = struct.Struct(">cd")
_LEAST_SEALED = 12 + 16  # bytes: nonce and tag around nothing
_SALT = 16  # bytes

Event = tuple[Any, ...]  # one value for each of COLUMNS, as the database had it


class Checked(NamedTuple):
    """An event whose columns agree with each other."""

    leaf: bytes  # 32 bytes
    facts: dict[str, Any]  # `data`, parsed
    erased: bool  # it committed to private facts that are no longer there


class Wrong(Exception):
    """A stored event that contradicts itself; the message is one sentence."""


def check(event: Event, copies: Collection[str] = COPIES) -> Checked:
    """Raises Wrong when a column is not what the event's hash, its data or its commitment says.

    `copies`: which of COPIES there are; the others are not looked at.
    """
    id_, at, tenant, kind, actor, interaction, item, trace, data, subject, commitment, hash_, salt, sealed = event[:14]
    try:
        if type(at) is not float:
            raise Wrong("Its time is not a number with fractions, as all times are stored.")
        parts = [_START, *_framed((id_,)), _DOUBLE.pack(b"\x02", at)]
        parts += _framed((tenant, kind, actor, interaction, item, trace, data, subject, commitment))
    except (AttributeError, UnicodeEncodeError) as error:
        raise Wrong(f"Its {_not_text(event)} is not text.") from error
    leaf = sha256(b"".join(parts)).digest()
    if leaf.hex() != hash_:
        raise Wrong("Its columns do not have the hash that is stored with it: the event or its hash was altered.")
    facts = _facts(data)
    _check_copies(facts, event, copies)
    return Checked(leaf, facts, _is_erased(commitment, salt, sealed))


def _framed(values: Sequence[str | None]) -> list[bytes]:
    """Each value so that no two rows of values give the same bytes: 0x00, or 0x01, length in 4 bytes, UTF-8."""
    frames = []
    for value in values:
        if value is None:
            frames.append(_NULL)
        else:
            text = value.encode()
            frames += (_TEXT, len(text).to_bytes(4, "big"), text)
    return frames


def _not_text(event: Event) -> str:
    for name, value in zip(COLUMNS, event, strict=True):
        if name in HASHED and name != "at" and value is not None:
            if type(value) is not str:
                return name
            try:
                value.encode()
            except UnicodeEncodeError:
                return name
    return "content"


# Canonical JSON is what this encoder writes: keys sorted, no spaces, characters as they are, numbers as Python's repr.
_encoder = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_read = json.JSONDecoder().raw_decode  # what follows the value shows when it is written again


def canonical(value: Any) -> str:
    """Raises ValueError or RecursionError for what JSON cannot say."""
    return _encoder.encode(value)


def _facts(data: str) -> dict[str, Any]:
    try:
        facts = _read(data)[0]
        written = canonical(facts)
    except (ValueError, RecursionError) as error:
        raise Wrong("Its data is not JSON.") from error
    if type(facts) is not dict:
        raise Wrong("Its data is not a JSON object.")
    if written != data:
        raise Wrong("Its data is not canonical JSON: keys sorted, each once, no spaces.")
    return facts


def _check_copies(facts: dict[str, Any], event: Event, copies: Collection[str]) -> None:
    for name, stored in zip(TEXT_COPIES, event[14:-1], strict=True):
        value = facts.get(name)
        if (stored != value or (stored is not None and type(stored) is not str)) and name in copies:
            raise Wrong(f"Its column {name} is not what its data says.")
    if "confidence" in copies:
        _check_confidence(facts.get("confidence"), event[-1])


def _check_confidence(value: Any, confidence: Any) -> None:
    if confidence is None and value is None:
        return
    if type(confidence) is not float or type(value) not in (float, int) or confidence != value:
        raise Wrong("Its column confidence is not what its data says.")
    if not confidence and copysign(1.0, confidence) != copysign(1.0, value):
        raise Wrong("Its column confidence is zero of another sign than its data says.")


def _is_erased(commitment: str | None, salt: Any, sealed: Any) -> bool:
    if salt is None and sealed is None:
        return commitment is not None
    if commitment is None:
        raise Wrong("It holds private facts that it never committed to.")
    if type(salt) is not str or type(sealed) is not str:
        raise Wrong("It holds only one of salt and sealed facts, or one that is not text.")
    try:
        salt_bytes, sealed_bytes = bytes.fromhex(salt), a2b_base64(sealed.encode(), strict_mode=True)
        as_written = salt_bytes.hex() == salt and b2a_base64(sealed_bytes, newline=False).decode() == sealed
    except (ValueError, Base64Error) as error:
        raise Wrong("Its salt or its sealed facts are not written as they should be.") from error
    if not as_written or len(salt_bytes) != _SALT or len(sealed_bytes) < _LEAST_SEALED:
        raise Wrong("Its salt or its sealed facts are not written as they should be.")
    if sha256(salt_bytes + sealed_bytes).hexdigest() != commitment:
        raise Wrong("Its salt and sealed facts are not those that it committed to.")
    return False
