"""Hands rows over in shared memory, between two processes of one machine; counters say what is written and read.

x86-64 only, as the exchange: rows are written before the counter that tells of them, and other cores see both in order.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from serving.experts.rank_settings import best_exchange
from serving.experts.shm_counter import reaches
from serving.experts.shm_layout import LINE
from serving.stages.handoff import Handed, HandoffTimeout
from serving.stages.handoff_layout import SLOTS, HandoffLayout

_WRITTEN, _READ = 0, LINE // 8  # where the counters are, in words


class ShmHandoff:
    """One end: a rank sends through it or receives, never both."""

    def __init__(
        self, path: Path, layout: HandoffLayout, peer: int, seconds: float, is_void: Callable[[], bool]
    ) -> None:
        """`peer` is the other end's number in the gang; `is_void` is asked while this rank waits."""
        if best_exchange() != "shm":
            raise RuntimeError("the shm handoff relies on x86-64's store order: set COUNTERSIGN_EXCHANGE=gloo")
        self.wait_seconds = 0.0
        self._peer, self._seconds, self._is_void = peer, seconds, is_void
        self._steps = 0  # that this end has sent or received
        with path.open("r+b") as file:
            memory = mmap.mmap(file.fileno(), layout.size)
        self._counters = memoryview(memory)[: layout.slots_at].cast("q")
        floats = np.frombuffer(memory, np.float32, SLOTS * layout.rows * layout.width, layout.slots_at)
        self._slots = torch.from_numpy(floats).view(SLOTS, layout.rows, layout.width)

    def send(self, handed: Handed) -> None:
        self._await(_READ, self._steps - SLOTS + 1)
        slot = self._slots[self._steps % SLOTS, : len(handed.hidden)]
        slot[:, :-1] = handed.hidden
        slot[:, -1] = handed.gate_entropy
        self._steps += 1
        self._counters[_WRITTEN] = self._steps

    def receive(self, rows: int) -> Handed:
        self._await(_WRITTEN, self._steps + 1)
        slot = self._slots[self._steps % SLOTS, :rows]
        handed = Handed(slot[:, :-1].clone(memory_format=torch.contiguous_format), slot[:, -1].clone())
        self._steps += 1
        self._counters[_READ] = self._steps
        return handed

    def close(self) -> None:
        """The mapping lives as long as tensors look at it; nothing else is held."""

    def _await(self, counter: int, wanted: int) -> None:
        if self._counters[counter] >= wanted:
            return
        started = time.perf_counter()
        try:
            if not reaches(self._counters, counter, wanted, started + self._seconds, self._is_void):
                raise HandoffTimeout((self._peer,), self._seconds)
        finally:
            self.wait_seconds += time.perf_counter() - started
