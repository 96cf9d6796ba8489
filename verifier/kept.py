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
    for size, note in look(checkpoints).notes():
        if size != shown.size:
            continue
        try:
            kept = key.opened(note)
        except BadCheckpoint as error:
            raise Altered(f"The checkpoint of size {size} kept outside {error}.") from error
        if kept.size != size or kept.root != shown.root:
            raise Altered(f"Another checkpoint of size {size} is kept outside: there are two histories of this log.")
        return f"the checkpoint of size {size} is kept outside too"
    return f"none of size {shown.size} is kept outside"
