"""Verifies what the product answered about one event: that it is in the tree that a signed checkpoint stands for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from verifier.checkpoints import BadCheckpoint, Checkpoint, VerifyingKey
from verifier.events import COLUMNS, COPIES, HASHED, Event, Wrong, canonical, check
from verifier.findings import Altered, CannotRead
from verifier.tree import root_of_proof

_MOST_STEPS = 64  # no tree is higher
_OBJECT = "audit.proof"
_MEMBERS = ("object", "event", "leaf_index", "tree_size", "inclusion", "checkpoint")


@dataclass(frozen=True)
class Proven:
    """An event that the signer's tree holds."""

    event_id: str
    leaf_index: int
    at: float  # unix seconds
    kind: str
    tenant: str
    checkpoint: Checkpoint
    unproven: tuple[str, ...] = ()  # members beside it in the file, of which nothing is known here


def verify_proof(proof: Mapping[str, Any], key: VerifyingKey) -> Proven:
    """`proof` is the body of GET /v1/audit/events/{id}/proof. Raises Altered, or CannotRead where it is no proof."""
    event, index, note = proof.get("event"), proof.get("leaf_index"), proof.get("checkpoint")
    path = proof.get("inclusion")
    if not isinstance(event, Mapping) or type(index) is not int or not isinstance(path, list) or type(note) is not str:
        raise CannotRead("This is not a proof: it needs event, leaf_index, inclusion and checkpoint.")
    if proof.get("object", _OBJECT) != _OBJECT:
        raise CannotRead(f"This is not a proof of an event: its object is not {_OBJECT}.")
    row = row_of(event)
    leaf = checked_leaf(row, index, copies_in(event))
    try:
        checkpoint = key.opened(note)
    except BadCheckpoint as error:
        raise Altered(f"The checkpoint {error}.", index, event_id=row[0]) from error
    if not is_number(proof, "tree_size", checkpoint.size):
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
    unproven = *beside(proof, _MEMBERS), *(f"event.{name}" for name in beside(event, COLUMNS))
    return Proven(row[0], index, row[1], row[3], row[2], checkpoint, unproven)


def beside(members: Mapping[str, Any], known: Collection[str]) -> tuple[str, ...]:
    """The members of which this program knows nothing: told, and no fault, since a newer server may say more."""
    return tuple(name for name in members if name not in known)


def copies_in(event: Mapping[str, Any]) -> tuple[str, ...]:
    """Those facts of its data that the event repeats beside it: each must be the same, and none need be there."""
    return tuple(name for name in COPIES if name in event)


def is_number(members: Mapping[str, Any], name: str, number: int) -> bool:
    """Whether a member that only repeats a signed number does so, or is not there."""
    return name not in members or (type(members[name]) is int and members[name] == number)


def row_of(event: Mapping[str, Any]) -> Event:
    """The event's columns from JSON; a copy for filters that is not there is None. Raises CannotRead."""
    missing = [name for name in HASHED if name not in event]
    if missing or "hash" not in event:
        raise CannotRead(f"This event lacks {', '.join(missing or ['hash'])}, which its hash is computed over.")
    given = {name: event.get(name) for name in COLUMNS}
    for name in ("at", "confidence"):
        given[name] = _float(name, given[name])
    data = given["data"]
    if isinstance(data, Mapping):
        try:
            given["data"] = canonical(data)
        except (ValueError, RecursionError) as error:
            raise CannotRead("The event's data cannot be written as JSON again.") from error
    return tuple(given[name] for name in COLUMNS)


def _float(name: str, value: Any) -> Any:
    """JSON need not tell 5 from 5.0. Raises CannotRead."""
    try:
        return float(value) if type(value) is int else value
    except OverflowError as error:
        raise CannotRead(f"The event's {name} is a number that no event can hold.") from error


def checked_leaf(row: Event, index: int | None, copies: Collection[str]) -> bytes:
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
