"""Compiles what is missing in a store, a piece at a time: a process of its own, since it takes minutes.

It ends with whoever started it (its standard input closes), and one store is filled by one process at a time.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import logging
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import Module

from serving.compiled.pieces import HeadPiece, LayerKind, Piece, Sizes, can_be_compiled, kind_of, parts_of
from serving.compiled.store import BUCKETS, Store, Wanted, store_of
from serving.compiled.whole_step import StepPiece
from serving.kernels.library import build_and_load, direct_calls, loaded
from serving.model.checkpoint import Checkpoint, open_checkpoint
from serving.model.config import ModelConfig
from serving.model.rotary import Rotary
from serving.model.weights import LayerWeights, MixtureWeights, load_layer

NICE = 10
_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.nice(NICE)
    torch.set_num_threads(1)  # what is generated runs on one thread, as ranks do
    build_and_load(options.home)
    checkpoint = open_checkpoint(options.checkpoint)
    store = store_of(options.home, checkpoint, slots=options.slots, block_size=options.block_size)
    wanted = Wanted(options.ranks, options.slots, options.block_size, options.rows, options.whole)
    with _alone(store), torch.no_grad():
        sweep(store)
        fill(store, checkpoint, wanted)
    return 0


def sweep(store: Store) -> None:
    """Removes what builders that were killed have left half made; for who has the store alone."""
    for left in store.folder.glob("tmp*"):
        shutil.rmtree(left, ignore_errors=True)


def fill(store: Store, checkpoint: Checkpoint, wanted: Wanted) -> None:
    """Compiles what is missing."""
    if wanted.whole:
        fill_whole(store, checkpoint, wanted)
    else:
        _fill_layers(store, checkpoint, wanted)


def _fill_layers(store: Store, checkpoint: Checkpoint, wanted: Wanted) -> None:
    config = checkpoint.config
    first_of = {kind_of(config, layer): layer for layer in reversed(range(config.layers))}
    cache = torch.zeros(wanted.slots, config.attention.cache_width)
    rotary = Rotary(config.rope, config.context_length)
    for count in wanted.rows:
        if not store.head(count).exists():
            head = HeadPiece(config)
            compile_piece(head, head.inputs(count), store.head(count))
        for kind, layer in first_of.items():
            missing = [part for part in parts_of(kind, wanted.ranks) if not store.file(kind, part, count).exists()]
            if not missing:
                continue
            weights = load_layer(checkpoint, layer, _held(config, kind, wanted.ranks))
            if "whole" in missing and not _fits(weights):
                continue
            for part in missing:
                piece = Piece(config, weights, layer, part, wanted.block_size)
                given = piece.inputs(count, cache, rotary.at(torch.full((count,), wanted.block_size)))
                compile_piece(piece, given, store.file(kind, part, count), piece.sizes(len(given)))


def fill_whole(store: Store, checkpoint: Checkpoint, wanted: Wanted) -> None:
    """Whole steps alone."""
    missing = [count for count in wanted.rows if not store.step(count).exists()]
    if not missing:
        return
    config, experts = checkpoint.config, tuple(range(checkpoint.config.experts))
    kinds = [kind_of(config, layer) for layer in range(config.layers)]
    # Layers of a kind are alike in their shapes, which are all that is looked at.
    one_of = {kind: load_layer(checkpoint, kinds.index(kind), experts) for kind in set(kinds)}
    if not all(_fits(layer) for layer in one_of.values()):
        return
    piece = StepPiece(config, [one_of[kind] for kind in kinds], wanted.block_size)
    rotary = Rotary(config.rope, config.context_length)
    for count in missing:
        given = piece.inputs(count, wanted.slots, rotary)
        compile_piece(piece, given, store.step(count), piece.sizes(len(given)))


def compile_piece(piece: Module, given: tuple[Tensor, ...], file: Path, sizes: Sizes | None = None) -> None:
    """The file appears when it is whole; `sizes`: which of each input's dimensions change from step to step."""
    exported = torch.export.export(piece, given, dynamic_shapes=sizes)
    calls = direct_calls() if loaded() else {}
    with (
        tempfile.TemporaryDirectory(dir=file.parent) as folder,
        torch._inductor.config.patch({"aot_inductor.custom_ops_to_c_shims": calls}),
    ):
        made = Path(folder) / file.name
        torch._inductor.aoti_compile_and_package(exported, package_path=str(made))
        made.replace(file)
    _log.info("compiled %s", file.name)


def _held(config: ModelConfig, kind: LayerKind, ranks: int) -> tuple[int, ...]:
    """Whole layers are traced with all their experts; halves have none."""
    return tuple(range(config.experts)) if kind.experts and ranks == 1 else ()


def _fits(weights: LayerWeights) -> bool:
    return not isinstance(weights.mlp, MixtureWeights) or can_be_compiled(weights.mlp.experts)


@contextlib.contextmanager
def _alone(store: Store) -> Iterator[None]:
    store.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(store.folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _end_with_parent() -> None:
    while os.read(0, 1024):  # unbuffered: a lock held at the end of the process would be an error
        pass
    os._exit(1)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m serving.compiled.build", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("home", type=Path)
    parser.add_argument("--ranks", type=int, required=True)
    parser.add_argument("--slots", type=int, required=True, help="rows of a layer's cache")
    parser.add_argument("--block-size", type=int, required=True)
    parser.add_argument("--whole", action="store_true", help="whole steps instead of layers")
    parser.add_argument("--rows", type=int, nargs="+", choices=BUCKETS, default=list(BUCKETS))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
