"""What somebody can make who may write everything but does not have the log's key: bits, types, notes, whole events."""

from __future__ import annotations

import base64
import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from storage.checkpoints import Signer, key_hash, new_signing_key, read_note
from storage.event_format import leaf_hash
from storage.records import AuditEvent
from verifier.events import COLUMNS, HASHED
from verifier.reading import Tables
from verifier.tree import Tree

Row = tuple[Any, ...]
Note = tuple[Any, Any]  # tree size, note

COLUMNS_OF = {
    "audit_events": COLUMNS,
    "audit_leaves": ("leaf_index", "event_id", "hash"),
    "audit_unsealed": ("event_id", "hash"),
    "audit_nodes": ("level", "position", "hash"),
    "audit_checkpoints": ("tree_size", "note"),
}
_KEY = Ed25519PrivateKey.generate()
_ANOTHER_LOG = Signer(new_signing_key())
_HASH, _ACTOR = COLUMNS.index("hash"), COLUMNS.index("actor")


@dataclass(frozen=True, slots=True)
class Tampering:
    """An altered log. `leaf` and `event_id` say what must be named; both None: it is no event that was altered."""

    kind: str
    what: str
    tables: Tables
    outside: Sequence[Note]
    leaf: int | None = None
    event_id: str | None = None


def flipped(value: Any, bits: int, draw: random.Random) -> Iterator[Any]:
    """The value with one bit changed, for at most so many bits of it; text bit by bit of its UTF-8."""
    if isinstance(value, str):
        raw = value.encode()
        for bit in _some(len(raw) * 8, bits, draw):
            yield _with_bit(raw, bit).decode("utf-8", "surrogateescape")
    elif isinstance(value, float):
        for bit in _some(64, bits, draw):
            yield struct.unpack(">d", _with_bit(struct.pack(">d", value), bit))[0]
    elif isinstance(value, int):
        for bit in _some(64, bits, draw):
            yield struct.unpack(">q", _with_bit(struct.pack(">q", value), bit))[0]


def of_other_types(value: Any) -> list[Any]:
    """The number as text, and as a number of the other type where it has one."""
    if isinstance(value, float):
        return [str(value), int(value)]
    return [str(value)]


def forged_notes(size: int, leaves: Sequence[tuple[Any, ...]], note: str) -> list[str]:
    """Checkpoints of these leaves, well made but for the signature; `note` is an honest one of the log."""
    honest = read_note(note)
    text = f"{honest.origin}\n{size}\n{base64.b64encode(_root(leaves)).decode()}\nsealed_at {honest.sealed_at:.3f}\n"
    signature = _KEY.sign(text.encode())
    own_hash = key_hash(honest.origin, _KEY.public_key().public_bytes_raw())
    return [
        _ANOTHER_LOG.sign(size, _root(leaves), honest.sealed_at),
        _signed(text, honest.origin, own_hash + signature),
        _signed(text, honest.origin, honest.signature[:4] + signature),
        _signed(text.replace("sealed_at ", "sealed_at 1"), honest.origin, honest.signature),
    ]


def rewritten(tables: Tables, place: int, leaf: int) -> Tables:
    """Another actor in one event, and everything else in the database as if it had always been so."""
    row = list(tables.audit_events[place])
    row[_ACTOR] = "key:somebody_else"
    fields = dict(zip(HASHED, row, strict=False))
    text = fields.pop("data")
    row[_HASH] = leaf_hash(AuditEvent(**fields), text)
    events, leaves = list(tables.audit_events), list(tables.audit_leaves)
    events[place], leaves[leaf] = tuple(row), (leaf, row[0], row[_HASH])
    tree, nodes = Tree(), []
    for _, _, hash_ in leaves:
        nodes += [(level, position, root.hex()) for level, position, root in tree.append(bytes.fromhex(hash_))]
    return replace(tables, audit_events=events, audit_leaves=leaves, audit_nodes=nodes)


def _signed(text: str, origin: str, signature: bytes) -> str:
    return f"{text}\n— {origin} {base64.b64encode(signature).decode()}\n"


def _root(leaves: Sequence[tuple[Any, ...]]) -> bytes:
    tree = Tree()
    for _, _, hash_ in leaves:
        tree.append(bytes.fromhex(hash_))
    return tree.root()


def _some(of: int, bits: int, draw: random.Random) -> Sequence[int]:
    return range(of) if of <= bits else draw.sample(range(of), bits)


def _with_bit(raw: bytes, bit: int) -> bytes:
    changed = bytearray(raw)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
