"""Compares the checkpoint that somebody shows with the one of the same size that was kept outside."""

from __future__ import annotations

from pathlib import Path

from verifier.checkpoints import BadCheckpoint, Checkpoint, VerifyingKey
from verifier.findings import Altered
from verifier.outside import look


def compared(shown: Checkpoint, checkpoints: Path | None, key: VerifyingKey) -> str:
    """What was found, in words. Raises Altered where the one kept outside has another root; CannotRead."""
    if checkpoints is None:
        return "not compared; give --checkpoints"
    kept = False
    for size, note in look(checkpoints).notes():  # to the end: another of this size may follow
        if note.split("\n", 2)[1:2] != [str(size)]:
            raise Altered(f"Of those kept outside, the line of size {size} holds a checkpoint of another size.")
        if size == shown.size:
            _compare(shown, note, key)
            kept = True
    if not kept:
        return f"none of size {shown.size} is kept outside"
    return f"the checkpoint of size {shown.size} is kept outside too"


def _compare(shown: Checkpoint, note: str, key: VerifyingKey) -> None:
    try:
        kept = key.opened(note)
    except BadCheckpoint as error:
        raise Altered(f"The checkpoint of size {shown.size} kept outside {error}.") from error
    if kept.root != shown.root:
        raise Altered(f"Another checkpoint of size {shown.size} is kept outside: there are two histories of this log.")
