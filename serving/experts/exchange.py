"""Knows what ranks exchange at an expert layer: rows are gathered to all ranks, contributions combined at the owner."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class ExchangeBroken(Exception):
    """The exchange did not come about: this rank's step is void, and so is every later one until another epoch."""


class ExchangeVoid(ExchangeBroken):
    """The driver has called this rank away from its step, or is gone; nobody need be told."""

    def __init__(self) -> None:
        super().__init__("this epoch is over")


class ExchangeTimeout(ExchangeBroken):
    """Another rank did not arrive at an exchange in time, or its connection broke."""

    def __init__(self, missing: tuple[int, ...], seconds: float) -> None:
        self.missing = missing
        self.seconds = seconds
        ranks = ", ".join(str(rank) for rank in missing) or "another"
        super().__init__(f"rank {ranks} did not arrive at an exchange within {seconds:g} s")


class Exchange(Protocol):
    """All ranks call gather and combine in the same order, with the same `counts` (rows of each rank)."""

    @property
    def wait_seconds(self) -> float:
        """Total time spent in exchanges."""
        ...

    def gather(
        self, rows: Tensor, expert_ids: Tensor, weights: Tensor, counts: tuple[int, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """[own, hidden], [own, k] int64 and [own, k] become the same for all ranks' rows, in order of rank.

        What it returns may be a view that the next gather overwrites. Raises ExchangeBroken.
        """
        ...

    def combine(self, contributions: Tensor, counts: tuple[int, ...]) -> Tensor:
        """[all, hidden] of this rank's experts becomes [own, hidden], summed over ranks in order of rank.

        Raises ExchangeBroken.
        """
        ...

    def close(self) -> None: ...


class AloneExchange:
    """One rank holds every expert: nothing to exchange."""

    wait_seconds = 0.0

    def gather(
        self, rows: Tensor, expert_ids: Tensor, weights: Tensor, counts: tuple[int, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        return rows, expert_ids, weights

    def combine(self, contributions: Tensor, counts: tuple[int, ...]) -> Tensor:
        return contributions

    def close(self) -> None:
        """Nothing is held."""
