"""On a machine whose steps take known times, adaptive batches bear more than batches that run to completion."""

from __future__ import annotations

import random

import pytest

from benchmarks.engine_adaptive import TooSlow, compare
from benchmarks.engine_replay import CONFIG, P99_SECONDS, TOKENS, Bench, RunToCompletion
from benchmarks.engine_step_times import ROWS, StandIn, StepTimes, measure_steps, processor_clock
from serving.engine.gang import RankReport
from serving.engine.local import local_gang
from serving.model.checkpoint import open_checkpoint
from serving.settings import REFERENCE_CHECKPOINT

TIMES = StepTimes((1, 16, 64), (0.0020, 0.0040, 0.0090), prompt=0.0003, token=0.00003)  # seconds
QUESTION = "What is 12 + 30?"


def made_bench(times: StepTimes = TIMES) -> Bench:
    rank = StandIn(times, RankReport(0, 1, 1, 1, {}), token_id=ord("x"))
    return Bench(rank, open_checkpoint(REFERENCE_CHECKPOINT), lambda: rank.now, (QUESTION,))


def test_adaptive_batches_bear_at_least_two_fifths_more() -> None:
    draw = random.Random(3)
    found = compare(made_bench(), [draw.expovariate(1.0) for _ in range(200)])
    assert found["adaptive_qps_ratio"] >= 1.4
    assert found["adaptive_p99_ms"] <= 1e3 * P99_SECONDS
    assert found["fixed_p99_ms"] <= 1e3 * P99_SECONDS
    assert found["fixed_size"] > 1
    assert found["adaptive_qps"] >= 0.9 * found["unlimited_qps"]


@pytest.mark.parametrize("size", [1, 4])
def test_a_batch_that_runs_to_completion_lets_nobody_in(size: int) -> None:
    """All come at once; each batch takes as long as its steps, the next begins when it has ended."""
    flat = StepTimes((1, 64), (0.001, 0.001), prompt=0.0, token=0.0)
    found = made_bench(flat).latencies(RunToCompletion(size), [0.0] * 8, 8)
    assert [round(1e3 * seconds) for seconds in found] == [TOKENS * (n // size + 1) for n in range(8)]


def test_a_machine_on_which_a_lone_answer_is_late_is_told_apart() -> None:
    slow = StepTimes((1, 64), (0.01, 0.01), prompt=0.0, token=0.0)
    with pytest.raises(TooSlow):
        compare(made_bench(slow), [1.0] * 20)


def test_the_steps_of_a_rank_are_measured_by_what_is_in_them() -> None:
    with local_gang(open_checkpoint(REFERENCE_CHECKPOINT), CONFIG) as gang:
        times = measure_steps(gang, processor_clock(gang.reports[0].pid), repeats=3)
    assert times.rows == ROWS
    assert 0 < times.by_rows[0] <= times.by_rows[-1]
    assert times.prompt >= 0
    assert times.token >= 0
