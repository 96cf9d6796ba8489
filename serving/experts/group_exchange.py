"""Exchanges rows between ranks through a process group of torch.distributed, on whatever device the rows lie."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from serving.experts.exchange import ExchangeTimeout
from serving.experts.exchange_way import ChooseWay, concerned_ranks


class GroupExchange:
    """`group` must know allgather and alltoall_base, and fail by RuntimeError when a rank stays away."""

    def __init__(self, group: Any, rank: int, ranks: int, seconds: float, choose: ChooseWay) -> None:
        """`seconds`: the group's own limit for a collective, for what a failure says."""
        self.wait_seconds = 0.0
        self._group, self._rank, self._ranks, self._seconds = group, rank, ranks, seconds
        self._choose = choose
        # Of the last dispatch, where not all rows came: own rows by rank, how many each got, how many came from each.
        self._route: tuple[list[Tensor], list[int], list[int]] | None = None

    def dispatch(
        self, rows: Tensor, copies: Tensor, weights: Tensor, counts: tuple[int, ...], holders: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        # One message: ids are exact in a float below 2**24.
        packed = torch.cat((rows, copies.to(rows.dtype), weights), 1)
        if self._choose(counts, copies.shape[1], rows.shape[1]):
            received = self._to_the_concerned(packed, concerned_ranks(copies, holders, self._ranks))
        else:
            self._route = None
            received = self._to_all(packed, counts)
        hidden, behind_ids = rows.shape[1], rows.shape[1] + copies.shape[1]
        return (
            received[:, :hidden].contiguous(),
            received[:, hidden:behind_ids].to(torch.int64),
            received[:, behind_ids:].contiguous(),
        )

    def combine(self, contributions: Tensor, counts: tuple[int, ...]) -> Tensor:
        own = counts[self._rank]
        if self._route is not None:
            sent, gone, came = self._route
            parts = self._all_to_all(contributions, came, gone).split_with_sizes(gone)
            summed = contributions.new_zeros(own, contributions.shape[1])
            for taken, part in zip(sent, parts, strict=True):
                summed.index_add_(0, taken, part)
            return summed
        # Not reduce_scatter: a group's order of summing is its own, ours is the order of ranks.
        received = self._all_to_all(contributions, list(counts), [own] * self._ranks)
        by_rank = received.view(self._ranks, own, contributions.shape[1])
        summed = by_rank[0] + by_rank[1]
        for rank in range(2, self._ranks):
            summed += by_rank[rank]
        return summed

    def close(self) -> None:
        self._group.abort()

    def _to_all(self, packed: Tensor, counts: tuple[int, ...]) -> Tensor:
        padded = packed.new_zeros(max(counts), packed.shape[1])  # groups gather equal parts only
        padded[: len(packed)] = packed
        parts = [torch.empty_like(padded) for _ in counts]
        with self._timed():
            self._group.allgather([parts], [padded]).wait()
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    def _to_the_concerned(self, packed: Tensor, concerned: Tensor) -> Tensor:
        sent = [rows.nonzero().squeeze(1) for rows in concerned.unbind(1)]
        gone = [len(taken) for taken in sent]
        numbers = torch.tensor(gone, device=packed.device)
        ones = [1] * self._ranks
        came: list[int] = self._all_to_all(numbers.unsqueeze(1), ones, ones).squeeze(1).tolist()
        self._route = sent, gone, came
        return self._all_to_all(packed.index_select(0, torch.cat(sent)), gone, came)

    def _all_to_all(self, rows: Tensor, gone: list[int], came: list[int]) -> Tensor:
        received = rows.new_empty(sum(came), rows.shape[1])
        with self._timed():
            self._group.alltoall_base(received, rows.contiguous(), came, gone).wait()
        return received

    @contextmanager
    def _timed(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        except RuntimeError as error:  # gloo tells a time-out and a lost peer by the same type
            raise ExchangeTimeout((), self._seconds) from error
        finally:
            self.wait_seconds += time.perf_counter() - started
