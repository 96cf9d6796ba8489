"""Counts rows by the rank they belong to and the experts they chose, and what each rank computed of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.engine.gang import RankReport
from serving.engine.plan import Integers, RankAnswer
from serving.experts.balance import rank_loads
from serving.experts.placement import Placement


@dataclass(frozen=True, slots=True)
class _Settled:
    """What was computed before the placement in force, by rank of the gang, and the load then."""

    placement: Placement
    load: Integers | None  # [owners, expert layers, experts]
    rows: tuple[int, ...]


class ExpertLoad:
    """Written by one thread, read by any. An owner is a rank of each stage, in the same place there."""

    def __init__(self, placement: Placement, stages: Sequence[Sequence[int]] | None = None) -> None:
        """`stages`: the expert layers of each, of the network in one piece when None."""
        self._stages = [sorted(placement.by_layer)] if stages is None else stages
        self._by_owner: list[Integers] = []  # [expert layers, experts] each
        self._settled = _Settled(placement, None, (0,) * (placement.ranks * len(self._stages)))
        self._coming: Placement | None = None

    def add(self, answers: Sequence[RankAnswer], version: int) -> None:
        """One step's, in order of rank, stage by stage; `version` is that of the placement they were computed by."""
        if self._coming is not None and self._coming.version == version:
            self._settled, self._coming = _Settled(self._coming, self.by_owner, self.rank_rows), None
        before, owners = self._by_owner, self._settled.placement.ranks
        new = [_of_all_layers(answers[owner::owners]) for owner in range(owners)]
        self._by_owner = [old + more for old, more in zip(before, new, strict=True)] if before else new

    def switch(self, placement: Placement) -> None:
        """Steps to come are computed by it; those in flight are not, and are added before."""
        self._coming = placement

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
        """By rank of the gang, rows that it computed experts of."""
        settled, load = self._settled, self.by_owner
        if load is None or not load.size:
            return settled.rows
        since = load if settled.load is None else load - settled.load
        rows = computed_rows(since.astype(np.float64), settled.placement, self._stages).ravel()
        return tuple(before + round(more) for before, more in zip(settled.rows, rows.tolist(), strict=True))


def stage_layers(reports: Sequence[RankReport]) -> list[list[int]]:
    """By stage: its expert layers."""
    found = {report.stage: sorted(report.expert_ids) for report in reports}
    return [found[stage] for stage in sorted(found)]


def computed_rows(
    load: npt.NDArray[np.float64], placement: Placement, stages: Sequence[Sequence[int]]
) -> npt.NDArray[np.float64]:
    """`load` [owners, expert layers, experts] → [stages, ranks], over all expert layers of each stage."""
    rows, row = np.zeros((len(stages), placement.ranks)), 0
    for of_stage, layers in zip(rows, stages, strict=True):
        for layer in layers:
            of_stage += rank_loads(load[:, row], placement.by_layer[layer])
            row += 1
    return rows


def _of_all_layers(answers: Sequence[RankAnswer]) -> Integers:
    """One owner's, of each stage."""
    return answers[0].expert_load if len(answers) == 1 else np.concatenate([a.expert_load for a in answers])
