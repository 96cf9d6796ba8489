"""Experts move among the ranks of each stage while steps are in flight; logits stay what transformers says."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from serving.engine.engine_config import EngineConfig
from serving.engine.errors import RankLost
from serving.engine.gang import Gang
from serving.engine.plan import RankAnswer, RankPlan
from serving.experts.placement import Held, Placement
from tests.serving.stages.grids import BLOCK, SIZES, Grid, started, write_deep_checkpoint
from tests.serving.teacher import logits_of
from tests.serving.tiny_checkpoint import reference_logits, some_prompt

TEXTS, PROMPTS, DEPTH = [some_prompt(length, seed=length) for length in (9, 40, 31)], [5, 30, 23], 2
CONFIG = EngineConfig(ranks=2, stages=2, exchange="shm", spare_experts=1, **SIZES)  # type: ignore[arg-type]
MOVED: dict[int, Held] = {  # no two layers alike, of both stages; replicas in some
    1: ((0, 3, 4, 5, 6), (0, 1, 2, 5, 7)),
    2: ((4, 5, 6, 7), (0, 1, 2, 3)),
    3: ((0, 2, 4, 6, 7), (1, 3, 5, 6, 7)),
    4: ((1, 2, 3), (0, 4, 5, 6, 7)),
}
EACH = 3 * 32 * 24  # parameters of an expert


class SwitchingGang:
    """A gang that goes over to another placement before one of its steps, while the step before it is in flight."""

    def __init__(self, gang: Gang, coming: Placement) -> None:
        self._gang, self._coming, self._in_flight, self.switched_among = gang, coming, 0, 0

    @property
    def placement(self) -> Placement:
        return self._gang.placement

    def submit(self, plans: Sequence[RankPlan]) -> None:
        self._in_flight += 1
        self._gang.submit(plans)

    def collect(self) -> list[RankAnswer] | None:
        self._in_flight -= 1
        answers = self._gang.collect()
        if self._in_flight and not self.switched_among:
            self._gang.put_in_force(self._coming)
            self.switched_among = self._in_flight
        return answers


def check(grid: Grid, gang: Gang | SwitchingGang, expected: list[np.ndarray]) -> None:
    for found, wanted in zip(
        logits_of(gang, grid.scheduler(11, DEPTH), TEXTS, PROMPTS, BLOCK, DEPTH),  # type: ignore[arg-type]
        expected,
        strict=True,
    ):
        assert np.abs(found - wanted).max() < 1e-4


def check_reports(gang: Gang) -> None:
    for report in gang.reports:
        held = {layer: MOVED[layer][report.rank % 2] for layer in report.layers if layer}
        assert report.expert_ids == held
        assert report.expert == EACH * sum(map(len, held.values()))


def test_experts_move_within_stages_between_two_steps_in_flight_and_newcomers_take_them(tmp_path: Path) -> None:
    directory, coming = write_deep_checkpoint(tmp_path / "deep"), Placement(2, MOVED, version=1)
    expected = [reference_logits(directory, text).numpy() for text in TEXTS]
    with started(directory, CONFIG) as grid:
        with grid.gang() as gang:
            gang.move(coming)
            while len(gang.readiness) < CONFIG.places:
                check(grid, gang, expected)
            assert not any(ready.reason for ready in gang.readiness.values())
            switching = SwitchingGang(gang, coming)
            check(grid, switching, expected)
            assert switching.switched_among == DEPTH - 1
            check_reports(gang)
            os.kill(grid.pids[3], signal.SIGKILL)
            with pytest.raises(RankLost):
                check(grid, gang, expected)
        with grid.gang() as gang:
            assert gang.placement == coming
            check_reports(gang)
            check(grid, gang, expected)
