"""With two stages two steps are in flight, of different sequences; what is given up meanwhile keeps its blocks."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.model.checkpoint import Checkpoint, open_checkpoint
from tests.serving.pretended_steps import STEP_SECONDS, Driven, config_of


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Path) -> Checkpoint:
    return open_checkpoint(tiny_checkpoint)


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
    assert many.steps.scheduler.running == config_of(stages=2).most_running


def test_what_has_ended_needs_no_rank_any_more(checkpoint: Checkpoint) -> None:
    driven = Driven(checkpoint)
    driven.add("one", max_tokens=1)
    driven.add("two", max_tokens=9)
    while driven.steps.scheduler.running_by_rank[0] + driven.steps.scheduler.waiting > 1:
        assert driven.steps.run() == []
    assert [flight.request.request_id for flight, _ in driven.steps.take_ended()] == ["one"]
    assert driven.steps.take_ended() == []
    assert driven.run_all() == ["two"]
