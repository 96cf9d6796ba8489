"""Exchanges rows between ranks through torch.distributed's gloo over loopback: any processor, any store order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from serving.experts.exchange import ExchangeTimeout


class GlooExchange:
    """A process group of its own: nothing is registered with torch.distributed's defaults."""

    def __init__(self, path: Path, rank: int, ranks: int, seconds: float) -> None:
        self.wait_seconds = 0.0
        self._rank, self._ranks, self._seconds = rank, ranks, seconds
        gloo: Any = dist.ProcessGroupGloo  # its stubs know only a part of it
        options = gloo._Options()
        options._devices = [gloo.create_device(hostname="127.0.0.1")]
        options._timeout = timedelta(seconds=seconds)
        store = dist.FileStore(str(path), ranks)  # type: ignore[attr-defined]  # missing in its stubs
        with self._timed():
            self._group = gloo(store, rank, ranks, options)

    def gather(
        self, rows: Tensor, expert_ids: Tensor, weights: Tensor, counts: tuple[int, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        hidden, top_k, most = rows.shape[1], expert_ids.shape[1], max(counts)
        # One message: ids are exact in a float below 2**24. Padded, since gloo gathers equal parts only.
        packed = torch.zeros(most, hidden + 2 * top_k)
        packed[: len(rows)] = torch.cat((rows, expert_ids.to(rows.dtype), weights), 1)
        parts = [torch.empty_like(packed) for _ in counts]
        with self._timed():
            self._group.allgather([parts], [packed]).wait()
        joined = torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])
        return (
            joined[:, :hidden].contiguous(),
            joined[:, hidden : hidden + top_k].to(torch.int64),
            joined[:, hidden + top_k :].contiguous(),
        )

    def combine(self, contributions: Tensor, counts: tuple[int, ...]) -> Tensor:
        own, hidden = counts[self._rank], contributions.shape[1]
        received = torch.empty(own * self._ranks, hidden)
        with self._timed():
            # Not reduce_scatter: gloo's order of summing is its own, ours is the order of ranks.
            self._group.alltoall_base(received, contributions.contiguous(), [own] * self._ranks, list(counts)).wait()
        parts = received.view(self._ranks, own, hidden)
        summed = parts[0] + parts[1]
        for rank in range(2, self._ranks):
            summed += parts[rank]
        return summed

    def close(self) -> None:
        self._group.abort()

    @contextmanager
    def _timed(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        except RuntimeError as error:  # gloo tells a time-out and a lost peer by the same type
            raise ExchangeTimeout((), self._seconds) from error
        finally:
            self.wait_seconds += time.perf_counter() - started
