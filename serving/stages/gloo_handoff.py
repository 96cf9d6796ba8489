"""Hands rows over through torch.distributed's gloo over loopback: any processor, any store order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from serving.stages.handoff import Handed, HandoffTimeout
from serving.stages.handoff_layout import SLOTS


class GlooHandoff:
    """One end of a process group of two, the sender its rank 0."""

    def __init__(self, path: Path, hidden: int, peer: int, seconds: float, *, sends: bool) -> None:
        """Returns when the other end has come too. `peer` is its number in the gang. Raises HandoffTimeout."""
        self.wait_seconds = 0.0
        self._hidden, self._peer, self._seconds = hidden, peer, seconds
        self._on_the_way: deque[tuple[Any, Tensor]] = deque()  # rows must stay until they are sent
        gloo: Any = dist.ProcessGroupGloo  # its stubs know only a part of it
        options = gloo._Options()
        options._devices = [gloo.create_device(hostname="127.0.0.1")]
        options._timeout = timedelta(seconds=seconds)
        store = dist.FileStore(str(path), 2)  # type: ignore[attr-defined]  # missing in its stubs
        with self._timed():
            self._group = gloo(store, 0 if sends else 1, 2, options)

    def send(self, handed: Handed) -> None:
        rows = torch.cat((handed.hidden, handed.gate_entropy.unsqueeze(1)), 1)
        with self._timed():
            if len(self._on_the_way) == SLOTS:
                self._on_the_way.popleft()[0].wait()
            self._on_the_way.append((self._group.send([rows], 1, 0), rows))

    def receive(self, rows: int) -> Handed:
        received = torch.empty(rows, self._hidden + 1)
        with self._timed():
            self._group.recv([received], 0, 0).wait()
        return Handed(received[:, :-1].contiguous(), received[:, -1])

    def close(self) -> None:
        """The other end learns of it, at once where it waits: its connection breaks when nothing holds the group."""
        self._group.abort()
        self._on_the_way.clear()
        self._group = None

    @contextmanager
    def _timed(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        except RuntimeError as error:  # gloo tells a time-out and a lost peer by the same type
            in_vain = time.perf_counter() - started >= self._seconds
            raise HandoffTimeout((self._peer,) if in_vain else (), self._seconds) from error
        finally:
            self.wait_seconds += time.perf_counter() - started
