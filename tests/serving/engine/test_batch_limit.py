"""The batch limit finds how many sequences a machine can run within the target, and follows when that changes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.engine.batch_limit import BatchLimit
from serving.engine.step_model import StepModel

LEAST, MOST, LEAST_CHUNK, STEP_TOKENS = 2, 64, 16, 256
TARGET = 0.010  # seconds


class Machine:
    """Takes `base + row * rows + token * tokens` seconds for a step, give or take a share that the seed draws."""

    def __init__(self, base: float, row: float, token: float, noise: float = 0.0, seed: int = 0) -> None:
        self.base, self.row, self.token, self.noise = base, row, token, noise
        self.random = random.Random(seed)

    def takes(self, rows: int, tokens: int) -> float:
        seconds = self.base + self.row * rows + self.token * tokens
        return seconds * (1 + self.noise * self.random.uniform(-1, 1))


def new_limit() -> BatchLimit:
    return BatchLimit(TARGET, LEAST, MOST, LEAST_CHUNK, STEP_TOKENS)


def run(limit: BatchLimit, machine: Machine, steps: int, waiting: int = 1_000, prompt: int = 0) -> list[float]:
    """Always as many rows as the limit lets in of those that wait; the times of the steps.

    `prompt` tokens are read for each of them, over the 32 steps that it stays.
    """
    times = []
    for step in range(steps):
        rows = min(limit.running, waiting)
        tokens = min(limit.chunk(rows), prompt * rows // 8) if step % 4 == 0 else 0
        times.append(machine.takes(rows, tokens))
        limit.observe(rows, tokens, times[-1])
    return times


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize(("base", "row", "affordable"), [(0.002, 0.0005, 16), (0.004, 0.0002, 30), (0.001, 0.003, 3)])
def test_as_many_run_as_keep_a_token_within_the_target(base: float, row: float, affordable: int, noise: float) -> None:
    limit = new_limit()
    times = run(limit, Machine(base, row, 0.0001, noise), 600)[300:]
    assert limit.running == pytest.approx(affordable, abs=max(1, 0.15 * affordable))
    assert sum(times) / len(times) <= 1.06 * TARGET


def test_prompts_that_must_be_read_leave_room_for_fewer() -> None:
    machine = Machine(0.002, 0.0002, 0.0001)
    without, beside = new_limit(), new_limit()
    run(without, machine, 600)
    times = run(beside, machine, 600, prompt=64)[300:]
    assert beside.running < 0.7 * without.running
    assert sum(times) / len(times) == pytest.approx(TARGET, rel=0.1)


def test_a_machine_that_slows_down_gets_fewer_and_more_again_when_it_recovers() -> None:
    limit = new_limit()
    run(limit, Machine(0.002, 0.0004, 0.0001), 400)
    before = limit.running
    run(limit, Machine(0.004, 0.0008, 0.0001), 400)
    slow = limit.running
    run(limit, Machine(0.002, 0.0004, 0.0001), 400)
    assert slow == pytest.approx(7, abs=1)
    assert limit.running == pytest.approx(before, abs=1)


def test_however_slow_or_fast_the_machine_the_bounds_hold() -> None:
    slow, fast = new_limit(), new_limit()
    run(slow, Machine(1.0, 0.1, 0.1), 200)
    run(fast, Machine(0.0001, 0.00001, 0.000001), 200)
    assert (slow.running, slow.chunk(5)) == (LEAST, LEAST_CHUNK)
    assert (fast.running, fast.chunk(5)) == (MOST, STEP_TOKENS)


def test_a_single_slow_step_among_quick_ones_changes_little() -> None:
    limit, machine = new_limit(), Machine(0.002, 0.0004, 0.0001)
    run(limit, machine, 400)
    before = limit.running
    limit.observe(before, 0, 30.0)
    assert limit.running >= 0.7 * before


def test_the_limit_is_at_most_twice_what_was_seen_lately() -> None:
    limit, machine = new_limit(), Machine(0.001, 0.00001, 0.000001)
    run(limit, machine, 300, waiting=5)
    assert limit.running == 10
    run(limit, machine, 10)
    assert limit.running == MOST


def test_steps_read_less_of_prompts_the_more_rows_wait_for_them() -> None:
    limit, machine = new_limit(), Machine(0.002, 0.0004, 0.0002)
    run(limit, machine, 400, prompt=64)
    chunks = [limit.chunk(rows) for rows in (0, 1, 4, 8, 16)]
    assert chunks[0] == STEP_TOKENS
    assert chunks[1:] == sorted(chunks[1:], reverse=True)
    assert machine.takes(8, limit.chunk(8)) == pytest.approx(2 * TARGET, rel=0.1)


steps = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300), st.floats(0, 100)), max_size=60)


@given(steps)
def test_the_same_steps_give_the_same_limits_always_within_bounds(taken: list[tuple[int, int, float]]) -> None:
    one, other = new_limit(), new_limit()
    for rows, tokens, seconds in taken:
        one.observe(rows, tokens, seconds)
        other.observe(rows, tokens, seconds)
        assert LEAST <= one.running <= MOST
        assert LEAST_CHUNK <= one.chunk(rows) <= STEP_TOKENS
        assert (one.running, one.chunk(rows)) == (other.running, other.chunk(rows))


def test_prices_are_found_from_steps_that_vary() -> None:
    model, machine, draw = StepModel(0.01, 0.01), Machine(0.003, 0.0007, 0.00005, noise=0.1), random.Random(1)
    for _ in range(400):
        rows, tokens = draw.randrange(1, 40), draw.randrange(0, 200)
        model.learn(rows, tokens, machine.takes(rows, tokens))
    assert model.row_seconds == pytest.approx(0.0007, rel=0.15)
    assert model.token_seconds == pytest.approx(0.00005, rel=0.25)
    assert model.base == pytest.approx(0.003, rel=0.35)


def test_a_price_is_never_below_nothing() -> None:
    model = StepModel(0.001, 0.001)
    for rows in [*range(30)] * 5:
        model.learn(rows, 30 - rows, 0.1 - 0.001 * rows)  # the more, the quicker
    assert model.row_seconds > 0
    assert model.token_seconds > 0
