"""Runs decode steps by what is compiled, once it is there; until then, and for all other steps, nothing changes."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from serving.compiled.pieces import Part, StepInputs, can_be_compiled, kind_of, parts_of, without_routed
from serving.compiled.store import Wanted, bucket_of, store_of
from serving.compiled.tensors import tensors_of
from serving.compiled.whole_step import step_inputs
from serving.engine.kv_cache import KvCache
from serving.experts.cores import AVAILABLE
from serving.kernels.library import load
from serving.model.batch import Batch
from serving.model.checkpoint import Checkpoint
from serving.model.config import ModelConfig
from serving.model.likelihoods import Likelihoods
from serving.model.mixture import Routing
from serving.model.rotary import Rotary
from serving.model.transformer import WholeStep
from serving.model.weights import MixtureWeights, Weights

_LOOK_SECONDS = 2.0  # between two looks for a bucket's files
_log = logging.getLogger(__name__)
Run = Any  # a loaded package's runner: a list of tensors in, a list out


class CompiledSteps:
    """One rank's; see `serving.model.transformer.DecodeSteps`."""

    def __init__(
        self,
        home: Path,
        checkpoint: Checkpoint,
        weights: Weights,
        cache: KvCache,
        wanted: Wanted,
    ) -> None:
        config, ranks = checkpoint.config, wanted.ranks
        self._home, self._store = home, store_of(home, checkpoint, slots=wanted.slots, block_size=wanted.block_size)
        self._config, self._cache, self._ranks, self._block_size = config, cache, ranks, wanted.block_size
        self._weights = [tensors_of(layer if ranks == 1 else without_routed(layer)) for layer in weights.layers]
        self._ends = (weights.norm, weights.head)
        self._able = all(
            ranks > 1 or not isinstance(layer.mlp, MixtureWeights) or can_be_compiled(layer.mlp.experts)
            for layer in weights.layers
        )
        self._is_whole = self._able and wanted.whole
        self._fixed = _fixed_inputs(config, weights, cache) if self._is_whole else []
        self._broken: set[tuple[Path, int]] = set()  # files that could not be loaded, as of when
        self._whole: dict[int, Run] = {}
        self._buckets: dict[int, _Bucket] = {}
        self._looked: dict[int, float] = {}  # when, by bucket that was not whole then

    def of(self, batch: Batch, turns: tuple[Tensor, Tensor]) -> _Step | None:
        """None for steps that hold chunks, for too many rows, and while a piece is missing."""
        if self._is_whole or not self._able or not _generates_only(batch):
            return None
        bucket = self._bucket(len(batch.tokens))
        return None if bucket is None else _Step(self, bucket, batch, turns)

    def whole(self, batch: Batch) -> WholeStep | None:
        """None for steps that hold chunks, for too many rows, and while it is not there."""
        if not self._is_whole or not _generates_only(batch):
            return None
        rows, size = len(batch.tokens), bucket_of(len(batch.tokens))
        run = None if size is None else self._whole_run(size)
        if size is None or run is None:
            return None
        found = run.run([*self._filled(batch, size), *self._fixed])
        hidden, entropy, experts, *likelihoods = found
        if rows == size:
            return WholeStep(hidden, entropy, experts, Likelihoods(*likelihoods))
        cut = Likelihoods(*(each[:rows] for each in likelihoods))
        return WholeStep(hidden[:rows], entropy[:rows], experts[:, :rows], cut)

    def _filled(self, batch: Batch, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Tokens, positions, slots and tables; rows that fill up write to the cache's spare block."""
        more, tables = size - len(batch.tokens), batch.spans[0].tables
        if tables.shape[1] < 2:  # as traced
            tables = pad(tables, (0, 1))
        if not more:
            return batch.tokens, batch.positions, batch.slots, tables
        spare = len(self._cache.rows(0)) // self._block_size - 1
        slots = pad(batch.slots, (0, more), value=spare * self._block_size)
        tables = pad(tables, (0, 0, 0, more), value=spare)
        return pad(batch.tokens, (0, more)), pad(batch.positions, (0, more)), slots, tables

    def _whole_run(self, size: int) -> Run | None:
        if size not in self._whole and self._may_look(size):
            run = self._loaded(self._store.step(size))
            if run is not None:
                self._whole[size] = run
        return self._whole.get(size)

    def _bucket(self, rows: int) -> _Bucket | None:
        size = bucket_of(rows)
        if size is None or size in self._buckets:
            return None if size is None else self._buckets[size]
        if not self._may_look(size):
            return None
        found = self._load(size)
        if found is not None:
            self._buckets[size] = found
        return found

    def _load(self, rows: int) -> _Bucket | None:
        """None while a piece is missing; what cannot be loaded counts as missing."""
        kinds = [kind_of(self._config, layer) for layer in range(self._config.layers)]
        files = {
            (kind, part): self._store.file(kind, part, rows) for kind in kinds for part in parts_of(kind, self._ranks)
        }
        if not all(file.exists() for file in (self._store.head(rows), *files.values())):
            return None
        runs = {which: self._loaded(file) for which, file in files.items()}
        head = self._loaded(self._store.head(rows))
        if head is None or None in runs.values():
            return None
        by_layer = [{part: runs[kind, part] for part in parts_of(kind, self._ranks)} for kind in kinds]
        return _Bucket(rows, by_layer, head)

    def _loaded(self, file: Path) -> Run | None:
        """None where it is not there, or cannot be loaded: that is told, and the file not tried again."""
        try:
            known = file, file.stat().st_mtime_ns
        except FileNotFoundError:
            return None
        if known in self._broken:
            return None
        try:
            return torch._inductor.aoti_load_package(str(file)).loader
        except Exception as error:  # whatever torch makes of a file that is broken or of another make
            self._broken.add(known)
            _log.warning("%s cannot be loaded, steps go on without it: %s", file, error)
            return None

    def _may_look(self, size: int) -> bool:
        """Now and then, at files of so many rows; the kernels are there before them, and are part of them."""
        now = time.monotonic()
        if now - self._looked.get(size, -_LOOK_SECONDS) < _LOOK_SECONDS:
            return False
        self._looked[size] = now
        if self._config.packing is None:  # where they are packed, what multiplies them was chosen with their loading
            load(self._home)
        return True


def _generates_only(batch: Batch) -> bool:
    return len(batch.spans) == 1 and batch.spans[0].queries == 1


def _fixed_inputs(config: ModelConfig, weights: Weights, cache: KvCache) -> list[Tensor]:
    """Of a whole step, what stays the same from one to the next."""
    nothing, rotary = (torch.empty(0),) * 4, Rotary(config.rope, config.context_length)
    return step_inputs(nothing, rotary, weights, [cache.rows(layer) for layer in range(config.layers)])[len(nothing) :]


class _Bucket:
    """The runners of every layer, for so many rows."""

    def __init__(self, rows: int, by_layer: Sequence[dict[Part, Run]], head: Run) -> None:
        self.rows, self.by_layer, self.head = rows, by_layer, head


class _Step:
    """One step; rows beyond its own write to the cache's spare block and are left out again."""

    def __init__(self, steps: CompiledSteps, bucket: _Bucket, batch: Batch, turns: tuple[Tensor, Tensor]) -> None:
        self._steps, self._bucket, self._rows = steps, bucket, len(batch.tokens)
        more = bucket.rows - self._rows
        _, positions, slots, tables = steps._filled(batch, bucket.rows)
        if more:
            turns = (pad(turns[0], (0, 0, 0, 0, 0, more)), pad(turns[1], (0, 0, 0, 0, 0, more)))
        self._inputs = StepInputs(turns, positions, slots, tables.contiguous()).tensors

    def whole(self, layer: int, hidden: Tensor) -> tuple[Tensor, Routing | None] | None:
        run = self._bucket.by_layer[layer].get("whole")
        if run is None:
            return None
        changed, *routing = (self._cut(each) for each in run.run(self._given(layer, hidden)))
        return changed, Routing(*routing) if routing else None

    def open(self, layer: int, hidden: Tensor) -> tuple[Tensor, Tensor, Routing]:
        found = self._bucket.by_layer[layer]["open"].run(self._given(layer, hidden))
        hidden, normed, entropies, experts, weights = (self._cut(each) for each in found)
        return hidden, normed, Routing(entropies, experts, weights)

    def close(self, layer: int, hidden: Tensor, normed: Tensor, routed: Tensor) -> Tensor:
        given = [self._filled(hidden), self._filled(normed), self._filled(routed), *self._steps._weights[layer]]
        return self._cut(self._bucket.by_layer[layer]["close"].run(given)[0])

    def measure(self, hidden: Tensor) -> Likelihoods:
        given = [self._filled(hidden), *self._steps._ends]
        return Likelihoods(*(self._cut(each) for each in self._bucket.head.run(given)))

    def _given(self, layer: int, hidden: Tensor) -> list[Tensor]:
        steps = self._steps
        return [self._filled(hidden), *self._inputs, steps._cache.rows(layer), *steps._weights[layer]]

    def _filled(self, rows: Tensor) -> Tensor:
        more = self._bucket.rows - self._rows
        return pad(rows, (0, 0, 0, more)) if more else rows.contiguous()

    def _cut(self, rows: Tensor) -> Tensor:
        return rows[: self._rows]


class Builder:
    """The process that compiles what is missing; it ends when this rank does, however that ends."""

    def __init__(self, home: Path, checkpoint: Checkpoint, wanted: Wanted) -> None:
        words = ["--ranks", str(wanted.ranks), "--slots", str(wanted.slots), "--block-size", str(wanted.block_size)]
        words += ["--rows", *map(str, wanted.rows), *(["--whole"] if wanted.whole else [])]
        command = [sys.executable, "-m", "serving.compiled.build", str(checkpoint.directory), str(home), *words]
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(home / "build.log", "ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)  # noqa: S603
        with contextlib.suppress(OSError):  # not on this rank's cores alone, which it would take from it
            os.sched_setaffinity(self._process.pid, AVAILABLE)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
