"""Verifies that a log only grew between two signed checkpoints: nothing in the first was altered or removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verifier.checkpoints import BadCheckpoint, Checkpoint, VerifyingKey
from verifier.findings import Altered, CannotRead
from verifier.proof import beside, digests, is_number
from verifier.tree import roots_of_growth

_OBJECT = "audit.consistency"
_MEMBERS = ("object", "first", "second", "consistency", "first_checkpoint", "second_checkpoint")


@dataclass(frozen=True)
class Grown:
    """The second checkpoint's tree begins with the whole tree of the first."""

    first: Checkpoint
    second: Checkpoint
    unproven: tuple[str, ...] = ()  # members beside it in the file, of which nothing is known here


def verify_growth(proof: Mapping[str, Any], key: VerifyingKey) -> Grown:
    """`proof` is the body of GET /v1/audit/consistency. Raises Altered, or CannotRead where it is no such proof."""
    path, notes = proof.get("consistency"), (proof.get("first_checkpoint"), proof.get("second_checkpoint"))
    if not isinstance(path, list) or not all(isinstance(note, str) for note in notes):
        raise CannotRead("This is no proof of growth: it needs consistency, first_checkpoint and second_checkpoint.")
    if proof.get("object", _OBJECT) != _OBJECT:
        raise CannotRead(f"This is no proof of growth: its object is not {_OBJECT}.")
    first, second = (_opened(key, name, note) for name, note in zip(("first", "second"), notes, strict=True))
    if not is_number(proof, "first", first.size) or not is_number(proof, "second", second.size):
        raise Altered("The proof is for other tree sizes than those of its checkpoints.")
    roots = roots_of_growth(first.root, first.size, second.size, digests(path))
    if roots is None:
        raise Altered(f"A proof from size {first.size} to {second.size} does not have {len(path)} hashes.")
    if roots != (first.root, second.root):
        raise Altered("The proof's hashes do not lead to both roots: it is forged, or the log was rewritten.")
    return Grown(first, second, beside(proof, _MEMBERS))


def _opened(key: VerifyingKey, name: str, note: Any) -> Checkpoint:
    try:
        return key.opened(note)
    except BadCheckpoint as error:
        raise Altered(f"The {name} checkpoint {error}.") from error
