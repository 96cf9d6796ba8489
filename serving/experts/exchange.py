"""Knows what ranks exchange at an expert layer: rows go to their experts' ranks, contributions back to the owner."""

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
    """All ranks call dispatch and combine in turn and in the same order, with the same `counts` (rows of each rank)."""

    @property
    def wait_seconds(self) -> float:
        """Total time spent in exchanges."""
        ...

    def dispatch(
        self, rows: Tensor, copies: Tensor, weights: Tensor, counts: tuple[int, ...], holders: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """[own, hidden], [own, k] int64 and [own, k] → the same of other ranks' rows and the own, in order of rank.

        `copies` are ids of copies of experts (serving.experts.placement), `holders` int64 [copies] the rank of each.
        Either all rows come, or those alone that have an expert here: which, the counts decide, for all ranks alike.
        What it returns may be a view that the next dispatch overwrites. Raises ExchangeBroken.
        """
        ...

    def combine(self, contributions: Tensor, counts: tuple[int, ...]) -> Tensor:
        """What this rank's experts made of each dispatched row → [own, hidden], summed over ranks in order of rank.

        Raises ExchangeBroken.
        """
        ...

    def close(self) -> None: ...


class AloneExchange:
    """One rank holds every expert: nothing to exchange."""

    wait_seconds = 0.0

    def dispatch(
        self, rows: Tensor, copies: Tensor, weights: Tensor, counts: tuple[int, ...], holders: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        return rows, copies, weights

    def combine(self, contributions: Tensor, counts: tuple[int, ...]) -> Tensor:
        return contributions

    def close(self) -> None:
        """Nothing is held."""
