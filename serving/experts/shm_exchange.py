"""Exchanges rows between ranks of one machine through a shared file; counters say who has arrived.

x86-64 only: a rank's data is written before its counter, and other cores see both in that order. One buffer is
enough: a rank writes rows again only after all have arrived at the combine, so nobody still reads the former ones.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from serving.experts.exchange import ExchangeTimeout
from serving.experts.exchange_way import SHM_LEAST_SAVED, ChooseWay, concerned_ranks, ways_from
from serving.experts.rank_settings import best_exchange
from serving.experts.shm_counter import YIELDS, reaches
from serving.experts.shm_layout import LINE, ShmLayout

_SPINS, _SPINS_ALONE = 200, 2000  # the others are about as far as this rank; a look takes 60 ns
_CHOOSE = ways_from(SHM_LEAST_SAVED)


class ShmExchange:
    def __init__(
        self,
        path: Path,
        layout: ShmLayout,
        rank: int,
        seconds: float,
        is_void: Callable[[], bool] = lambda: False,
        choose: ChooseWay = _CHOOSE,
        shares_core: bool = True,
    ) -> None:
        """`is_void` is asked while this rank waits: whether its step has become pointless.

        A rank that shares its core with others of its gang lets them have it soon. One that does not never does: who
        would get it, such as the process that compiles, would keep it for milliseconds.
        """
        if best_exchange() != "shm":
            raise RuntimeError("the shm exchange relies on x86-64's store order: set COUNTERSIGN_EXCHANGE=gloo")
        self.wait_seconds = 0.0
        self._rank, self._ranks, self._seconds = rank, layout.ranks, seconds
        self._others = [other for other in range(layout.ranks) if other != rank]
        self._spins, self._yields = (_SPINS, YIELDS) if shares_core else (_SPINS_ALONE, 0)
        self._arrivals, self._is_void, self._choose = 0, is_void, choose
        # Of the last dispatch, where not all rows came: bool [own, ranks] who got which of the own rows, and behind how
        # many others of its rows they are there.
        self._route: tuple[Tensor, list[int]] | None = None
        self._memory = _map(path, layout.size)
        self._counters = memoryview(self._memory)[: layout.rows_at].cast("q")
        view = _Views(self._memory)
        self._rows = view.floats(layout.rows_at, layout.rows, layout.hidden)
        self._ids = view.integers(layout.ids_at, layout.rows, layout.top_k)
        self._weights = view.floats(layout.weights_at, layout.rows, layout.top_k)
        flat = view.floats(layout.contributions_at, layout.ranks * layout.rows, layout.hidden)
        self._contributions = flat.view(layout.ranks, layout.rows, layout.hidden)

    def dispatch(
        self, rows: Tensor, copies: Tensor, weights: Tensor, counts: tuple[int, ...], holders: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        first, own, total = sum(counts[: self._rank]), counts[self._rank], sum(counts)
        if own:
            self._rows[first : first + own] = rows
            self._ids[first : first + own] = copies
            self._weights[first : first + own] = weights
        self._meet()
        everything = self._rows[:total], self._ids[:total], self._weights[:total]
        if not self._choose(counts, copies.shape[1], rows.shape[1]):
            self._route = None
            return everything
        # In shared memory a rank fetches what concerns it: nothing is written for each receiver.
        concerned = concerned_ranks(everything[1], holders, self._ranks)
        taken = concerned[:, self._rank].nonzero().squeeze(1)
        self._route = concerned[first : first + own], concerned[:first].sum(0).tolist()
        received, ids, gates = (part.index_select(0, taken) for part in everything)
        return received, ids, gates

    def combine(self, contributions: Tensor, counts: tuple[int, ...]) -> Tensor:
        first, own = sum(counts[: self._rank]), counts[self._rank]
        self._contributions[self._rank, : len(contributions)] = contributions
        self._meet()
        if self._route is not None:
            return _sum_of_those(self._contributions, *self._route)
        parts = self._contributions[:, first : first + own]
        summed = parts[0] + parts[1]
        for rank in range(2, self._ranks):
            summed += parts[rank]
        return summed

    def close(self) -> None:
        """The mapping lives as long as tensors look at it; nothing else is held."""

    def _meet(self) -> None:
        """Announce this rank's arrival and wait for the others'."""
        self._arrivals += 1
        self._counters[self._rank * (LINE // 8)] = self._arrivals
        started = time.perf_counter()
        deadline = started + self._seconds
        for other in self._others:
            place = other * (LINE // 8)
            patience = self._spins, self._yields
            if not reaches(self._counters, place, self._arrivals, deadline, self._is_void, *patience):
                raise ExchangeTimeout(self._missing(), self._seconds)
        self.wait_seconds += time.perf_counter() - started

    def _missing(self) -> tuple[int, ...]:
        return tuple(other for other in self._others if self._counters[other * (LINE // 8)] < self._arrivals)


def _sum_of_those(contributions: Tensor, concerned: Tensor, behind: list[int]) -> Tensor:
    """[ranks, rows, hidden] of which bool [own, ranks] are for this rank → [own, hidden], summed in order of rank."""
    summed = contributions.new_zeros(len(concerned), contributions.shape[2])
    for part, rows, first in zip(contributions, concerned.unbind(1), behind, strict=True):
        taken = rows.nonzero().squeeze(1)
        summed.index_add_(0, taken, part[first : first + len(taken)])
    return summed


class _Views:
    """Tensors that look into the mapped file."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory

    def floats(self, offset: int, rows: int, columns: int) -> Tensor:
        array = np.frombuffer(self._memory, np.float32, rows * columns, offset)
        return torch.from_numpy(array).view(rows, columns)

    def integers(self, offset: int, rows: int, columns: int) -> Tensor:
        array = np.frombuffer(self._memory, np.int64, rows * columns, offset)
        return torch.from_numpy(array).view(rows, columns)


def _map(path: Path, size: int) -> mmap.mmap:
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), size)
