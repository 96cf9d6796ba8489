"""Counts rows by the rank they belong to and the experts they chose, and what each rank computed of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.engine.plan import Integers, RankAnswer
from serving.experts.balance import rank_loads
from serving.experts.placement import Placement


@dataclass(frozen=True, slots=True)
class _Settled:
    """What was computed before the placement in force, by rank, and the load then."""

    placement: Placement
    load: Integers | None  # [owners, expert layers, experts]
    rows: tuple[int, ...]


class ExpertLoad:
    """Written by one thread, read by any."""

    def __init__(self, placement: Placement) -> None:
        self._by_owner: list[Integers] = []  # [expert layers, experts] each
        self._settled = _Settled(placement, None, (0,) * placement.ranks)

    def add(self, answers: Sequence[RankAnswer]) -> None:
        """One step's, in order of rank."""
        before = self._by_owner
        new = [answer.expert_load for answer in answers]
        self._by_owner = [old + more for old, more in zip(before, new, strict=True)] if before else new

    def switch(self, placement: Placement) -> None:
        """Before the first step under another placement."""
        self._settled = _Settled(placement, self.by_owner, self.rank_rows)

    @property
    def by_owner(self) -> Integers | None:
        """[owners, expert layers, experts]; None before the first step."""
        return np.stack(self._by_owner) if self._by_owner else None

    @property
    def by_expert(self) -> tuple[tuple[int, ...], ...]:
        """By expert layer, rows that chose each expert."""
        load = self.by_owner
        return () if load is None else tuple(map(tuple, load.sum(0).tolist()))

    @property
    def rank_rows(self) -> tuple[int, ...]:
        """By rank, rows that it computed experts of."""
        settled, load = self._settled, self.by_owner
        if load is None or not load.size:
            return settled.rows
        since = load if settled.load is None else load - settled.load
        rows = computed_rows(since.astype(np.float64), settled.placement)
        return tuple(before + round(more) for before, more in zip(settled.rows, rows.tolist(), strict=True))


def computed_rows(load: npt.NDArray[np.float64], placement: Placement) -> npt.NDArray[np.float64]:
    """`load` [owners, expert layers, experts] → [ranks], over all layers."""
    rows = np.zeros(placement.ranks)
    for row, layer in enumerate(sorted(placement.by_layer)):
        rows += rank_loads(load[:, row], placement.by_layer[layer])
    return rows
