"""Where compiled pieces are kept, and for what they hold: checkpoint, sizes, torch, processor and our own code."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from serving.compiled.pieces import LayerKind, Part
from serving.kernels.library import processor, source_digest
from serving.model.checkpoint import Checkpoint

BUCKETS = (1, 2, 4, 8, 16, 32)  # rows; fewer are filled up
_OUR_CODE = ("compiled", "model", "kernels", "engine/kv_cache.py")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a rank has compiled."""

    ranks: int
    slots: int  # rows of a layer's cache
    block_size: int
    rows: Sequence[int]  # of a step; few first: they are what a server that just started has
    whole: bool = False  # whole steps instead of layers


@dataclass(frozen=True, slots=True)
class Store:
    """One folder for one key: what another key made is never loaded."""

    folder: Path

    def file(self, kind: LayerKind, part: Part, rows: int) -> Path:
        return self.folder / f"{kind.name}-{part}-{rows}.pt2"

    def step(self, rows: int) -> Path:
        return self.folder / f"step-{rows}.pt2"

    def head(self, rows: int) -> Path:
        return self.folder / f"head-{rows}.pt2"


def store_of(home: Path, checkpoint: Checkpoint, *, slots: int, block_size: int) -> Store:
    """Below `home`; made by whoever compiles."""
    config = hashlib.sha256((checkpoint.directory / "config.json").read_bytes()).hexdigest()  # it is traced in as well
    facts = (checkpoint.digest, config, slots, block_size, torch.__version__, processor(), _code(), source_digest())
    return Store(home / hashlib.sha256(repr(facts).encode()).hexdigest()[:16])


def buckets_up_to(rows: int) -> tuple[int, ...]:
    """Those that steps of at most so many rows need."""
    most = bucket_of(rows) or BUCKETS[-1]
    return tuple(bucket for bucket in BUCKETS if bucket <= most)


def bucket_of(rows: int) -> int | None:
    """The least bucket that holds them."""
    return next((bucket for bucket in BUCKETS if bucket >= rows), None)


def _code() -> str:
    """What was traced: other code is compiled anew."""
    root, digest = Path(__file__).resolve().parent.parent, hashlib.sha256()
    for part in _OUR_CODE:
        for file in sorted((root / part).rglob("*.py")) if (root / part).is_dir() else [root / part]:
            digest.update(file.read_bytes())
    return digest.hexdigest()
