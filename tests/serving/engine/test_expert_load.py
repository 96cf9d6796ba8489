"""Rows count for the rank that computed them: of each stage, under the placement that the step was computed by."""

from __future__ import annotations

import numpy as np

from serving.engine.expert_load import ExpertLoad, stage_layers
from serving.engine.gang import RankReport, reported_placement
from serving.engine.plan import CHOICE, RankAnswer
from serving.experts.placement import Placement

LAYERS = {0: (1,), 1: (2, 3)}  # expert layers by stage
EVEN, SWAPPED = ((0, 1), (2, 3)), ((2, 3), (0, 1))
REPORTS = [
    RankReport(2 * stage + place, 1, 1, 1, dict.fromkeys(layers, EVEN[place]), stage)
    for stage, layers in LAYERS.items()
    for place in (0, 1)
]


def answers(*rows: list[int]) -> list[RankAnswer]:
    """`rows`: of each expert layer. All belong to the first rank of each stage."""
    loads = [np.array(rows[:1]), np.zeros((1, 4), np.int64), np.array(rows[1:]), np.zeros((2, 4), np.int64)]
    return [RankAnswer(0, np.zeros((0, CHOICE)), np.zeros(0), None, 0.0, 0.0, load) for load in loads]


def test_rows_count_for_their_stage_and_for_who_held_the_expert_when_the_step_was_sent() -> None:
    now = reported_placement(REPORTS)
    assert now == Placement(2, dict.fromkeys((1, 2, 3), EVEN))
    load = ExpertLoad(now, stage_layers(REPORTS))
    load.add(answers([1, 0, 0, 0], [10, 0, 0, 0], [0, 0, 0, 100]), 0)
    assert load.rank_rows == (1, 0, 10, 100)
    load.switch(Placement(2, dict.fromkeys((1, 2, 3), SWAPPED), version=1))
    load.add(answers([1, 0, 0, 0], [10, 0, 0, 0], [0, 0, 0, 100]), 0)  # it was in flight
    assert load.rank_rows == (2, 0, 20, 200)
    load.add(answers([1, 0, 0, 0], [10, 0, 0, 0], [0, 0, 0, 100]), 1)
    assert load.rank_rows == (2, 1, 120, 210)
    assert load.by_expert == ((3, 0, 0, 0), (30, 0, 0, 0), (0, 0, 0, 300))
