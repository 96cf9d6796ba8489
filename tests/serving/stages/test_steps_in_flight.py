"""With two stages two steps are in flight, of different sequences; what is given up meanwhile keeps its blocks."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from serving.engine.admission import Admission
from serving.engine.batch_limit import FixedLimits
from serving.engine.engine_config import EngineConfig
from serving.engine.flight import Flight
from serving.engine.gang import Gang, RankReport
from serving.engine.plan import Choice, RankAnswer, RankPlan, drawn_rows
from serving.engine.prompt import open_prompt_writer
from serving.engine.steps import Steps
from serving.engine.vocabulary import load_vocabulary
from serving.model.checkpoint import Checkpoint, open_checkpoint
from tests.serving.stages.grids import ask
from tests.serving.tiny_checkpoint import CONTEXT

STEP_SECONDS = 0.01  # between two answers
CONFIG = EngineConfig(ranks=1, stages=2, block_size=4, kv_tokens=4 * CONTEXT, most_running=6, step_tokens=64)


class PretendedGang(Gang):
    """Two stages that always say the same, and whose steps take the same time: only what is sent when counts here."""

    def __init__(self) -> None:
        super().__init__([], [RankReport(stage, 1, 1, 1, {}, stage) for stage in (0, 1)], 0.0)
        self.now = 0.0  # seconds
        self.events: list[str] = []
        self.sent: deque[RankPlan] = deque()

    def submit(self, plans: Sequence[RankPlan]) -> None:
        (plan,) = plans
        self.events.append(f"sent {plan.step}")
        self.sent.append(plan)

    def collect(self, wake: int | None = None) -> list[RankAnswer] | None:
        if wake is not None:  # somebody always calls
            self.events.append("called")
            return None
        plan = self.sent.popleft()
        self.events.append(f"answered {plan.step}")
        self.now += STEP_SECONDS
        word = Choice(ord("x"), -1.0, 1.0, 1.0, ())
        choices = tuple(word if sequence.sampled else None for sequence in plan.sequences)
        first = RankAnswer(plan.step, drawn_rows((), 0), np.zeros(0), None, 0.0, 0.0)
        return [first, RankAnswer(plan.step, drawn_rows(choices, 0), np.full(plan.counts[0], -1.0), None, 0.0, 0.0)]


class Watched(FixedLimits):
    """Limits that note what they are told."""

    def __init__(self, running: int) -> None:
        super().__init__(running, CONFIG.step_tokens)
        object.__setattr__(self, "told", [])

    told: list[tuple[int, int, float]]

    def observe(self, rows: int, tokens: int, seconds: float) -> None:
        self.told.append((rows, tokens, round(seconds, 6)))


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Path) -> Checkpoint:
    return open_checkpoint(tiny_checkpoint)


class Driven:
    def __init__(self, checkpoint: Checkpoint, running: int = 3) -> None:
        self.gang, self.limits = PretendedGang(), Watched(running)
        vocabulary = load_vocabulary(checkpoint.directory)
        writer = open_prompt_writer(vocabulary, checkpoint.directory)
        self._admission = Admission(writer, checkpoint.defaults, CONTEXT, CONFIG.block_size)
        self.steps = Steps(self.gang, checkpoint, vocabulary, CONFIG, self.limits, lambda: self.gang.now)

    def add(self, name: str, max_tokens: int = 8) -> Flight:
        flight = self._admission.prepare(ask(name, max_tokens=max_tokens))
        self.steps.add(flight)
        return flight

    def run_all(self) -> list[str]:
        ended = []
        while (found := self.steps.run()) is not None:
            ended += [flight.request.request_id for flight, _ in found]
        return ended


def test_the_second_plan_is_sent_before_the_first_answer(checkpoint: Checkpoint) -> None:
    driven = Driven(checkpoint)
    driven.add("one")
    driven.add("two")
    assert sorted(driven.run_all()) == ["one", "two"]
    assert driven.gang.events[:6] == ["sent 0", "sent 1", "answered 0", "sent 2", "answered 1", "sent 3"]


def test_one_sequence_alone_is_in_one_step_at_a_time(checkpoint: Checkpoint) -> None:
    driven = Driven(checkpoint)
    driven.add("one", max_tokens=3)
    assert driven.run_all() == ["one"]
    assert driven.gang.events == ["sent 0", "answered 0", "sent 1", "answered 1", "sent 2", "answered 2"]


def test_who_comes_while_there_is_room_for_a_step_need_not_wait_for_the_one_in_flight(checkpoint: Checkpoint) -> None:
    driven, wake = Driven(checkpoint), 7
    driven.add("one")
    assert driven.steps.run(wake) == []
    driven.add("two")
    driven.steps.run(wake)  # two are in flight: no room, and so nobody is heard
    assert driven.gang.events == ["sent 0", "called", "sent 1", "answered 0"]


def test_sequences_are_shared_out_evenly_over_the_steps(checkpoint: Checkpoint) -> None:
    driven = Driven(checkpoint)
    for number in range(5):
        driven.add(str(number))
    driven.steps.run()
    assert [len(plan.sequences) for plan in driven.gang.sent] == [2]
    driven.steps.run()
    assert [len(plan.sequences) for plan in driven.gang.sent] == [3]


def test_one_given_up_in_flight_keeps_its_blocks_until_its_step_has_come_back(checkpoint: Checkpoint) -> None:
    driven = Driven(checkpoint)
    all_free = driven.steps.scheduler.free_blocks
    driven.add("stays")
    gone = driven.add("gone")
    driven.steps.run()  # the first step is back, the second is in flight
    assert gone.sequence.in_flight
    held = driven.steps.scheduler.free_blocks
    driven.steps.drop(gone)
    assert driven.steps.scheduler.free_blocks == held
    assert driven.steps.scheduler.running == 2
    driven.add("gone", max_tokens=2)  # another under the same name, which its predecessor's answer must not reach
    driven.steps.run()
    assert driven.steps.scheduler.running == 2
    assert gone.drawn == 0
    assert sorted(driven.run_all()) == ["gone", "stays"]
    assert driven.steps.scheduler.free_blocks == all_free


def test_the_limits_are_told_how_long_a_token_takes_and_the_rows_of_one_step(checkpoint: Checkpoint) -> None:
    driven = Driven(checkpoint)
    for name in ("one", "two", "three", "four"):
        driven.add(name)
    driven.run_all()
    decoding = [told for told in driven.limits.told if told[0]]
    assert decoding[0] == (2, 0, 2 * STEP_SECONDS)  # two steps in flight: a token comes every second answer
    alone = Driven(checkpoint)
    alone.add("one")
    alone.run_all()
    assert alone.limits.told[-1] == (1, 0, STEP_SECONDS)


def test_a_rank_runs_as_many_as_all_steps_in_flight_may_hold(checkpoint: Checkpoint) -> None:
    few, many = Driven(checkpoint, running=2), Driven(checkpoint, running=64)
    for number in range(12):
        few.add(str(number))
        many.add(str(number))
    few.steps.run()
    many.steps.run()
    assert few.steps.scheduler.running == few.steps.scheduler.running_limit == 2 * 2
    assert many.steps.scheduler.running == CONFIG.most_running


def test_what_has_ended_needs_no_rank_any_more(checkpoint: Checkpoint) -> None:
    driven = Driven(checkpoint)
    driven.add("one", max_tokens=1)
    driven.add("two", max_tokens=9)
    while driven.steps.scheduler.running_by_rank[0] + driven.steps.scheduler.waiting > 1:
        assert driven.steps.run() == []
    assert [flight.request.request_id for flight, _ in driven.steps.take_ended()] == ["one"]
    assert driven.steps.take_ended() == []
    assert driven.run_all() == ["two"]
