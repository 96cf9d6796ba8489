"""Verifies what the product answered about one event: that it is in the tree that a signed checkpoint stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verifier.checkpoints import BadCheckpoint, Checkpoint, VerifyingKey
from verifier.events import COLUMNS, HASHED, Event, Wrong, canonical, check
from verifier.findings import Altered, CannotRead
from verifier.tree import root_of_proof

_MOST_STEPS = 64  # no tree is higher


@dataclass(frozen=True)
class Proven:
    """An event that the signer's tree holds."""

    event_id: str
    leaf_index: int
    at: float  # unix seconds
    kind: str
    tenant: str
    checkpoint: Checkpoint


def verify_proof(proof: Mapping[str, Any], key: VerifyingKey) -> Proven:
    """`proof` is the body of GET /v1/audit/events/{id}/proof. Raises Altered, or CannotRead where it is no proof."""
    event, index, note = proof.get("event"), proof.get("leaf_index"), proof.get("checkpoint")
    path = proof.get("inclusion")
    if not isinstance(event, Mapping) or type(index) is not int or not isinstance(path, list) or type(note) is not str:
        raise CannotRead("This is not a proof: it needs event, leaf_index, inclusion and checkpoint.")
    row = row_of(event)
    leaf = checked_leaf(row, index)
    try:
        checkpoint = key.opened(note)
    except BadCheckpoint as error:
        raise Altered(f"The checkpoint {error}.", index, event_id=row[0]) from error
    if proof.get("tree_size") not in (None, checkpoint.size):
        raise Altered(
            f"The proof is for another tree size than its checkpoint's {checkpoint.size}.", index, None, row[0]
        )
    root = root_of_proof(leaf, index, checkpoint.size, digests(path, index))
    if root is None:
        why = f"A proof for leaf {index} of {checkpoint.size} does not have {len(path)} hashes."
        raise Altered(why, index, None, row[0])
    if root != checkpoint.root:
        why = "The proof's hashes do not lead from this event to the checkpoint's root: one of them is forged."
        raise Altered(why, index, None, *_named(row))
    return Proven(row[0], index, row[1], row[3], row[2], checkpoint)


def row_of(event: Mapping[str, Any]) -> Event:
    """The event's columns from JSON, without the copies for filters. Raises CannotRead."""
    missing = [name for name in HASHED if name not in event]
    if missing or "hash" not in event:
        raise CannotRead(f"This event lacks {', '.join(missing or ['hash'])}, which its hash is computed over.")
    given = {name: event.get(name) for name in COLUMNS}
    if type(given["at"]) is int:
        given["at"] = float(given["at"])  # JSON need not tell 5 from 5.0
    data = given["data"]
    if isinstance(data, Mapping):
        try:
            given["data"] = canonical(data)
        except (ValueError, RecursionError) as error:
            raise CannotRead("The event's data cannot be written as JSON again.") from error
    return tuple(given[name] for name in COLUMNS)


def checked_leaf(row: Event, index: int | None, copies: bool = False) -> bytes:
    """The leaf hash of an event that agrees with itself; `copies` as for `check`. Raises Altered."""
    try:
        return check(row, copies).leaf
    except Wrong as wrong:
        raise Altered(str(wrong), index, None, *_named(row)) from wrong


def digests(path: list[Any], index: int | None = None) -> list[bytes]:
    """The hashes of a proof; of one that is too long to be right, only a few. Raises Altered."""
    raw = []
    for step in path[: _MOST_STEPS + 1]:
        try:
            raw.append(bytes.fromhex(step))
        except (TypeError, ValueError):
            raw.append(b"")
        if len(raw[-1]) != 32 or raw[-1].hex() != step:
            raise Altered("One of the proof's hashes is not a hash.", index)
    return raw


def _named(row: Event) -> tuple[str | None, str | None, str | None, float | None]:
    """Id, kind, tenant, time, as far as they are readable."""
    id_, kind, tenant = (value if type(value) is str else None for value in (row[0], row[3], row[2]))
    return id_, kind, tenant, row[1] if type(row[1]) is float else None
