"""Ranks that hold all layers are sent the next step before they have answered, and compute what they have drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serving.engine.opened_plan import open_plan
from serving.engine.plan import PlanError, RankPlan, SequenceStep, drawn_at, drawn_rows, pack_plan
from serving.model.checkpoint import Checkpoint, open_checkpoint
from tests.serving.pretended_steps import STEP_SECONDS, Driven


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Path) -> Checkpoint:
    return open_checkpoint(tiny_checkpoint)


def test_while_sequences_only_generate_the_next_step_is_sent_before_the_answer(checkpoint: Checkpoint) -> None:
    driven = Driven(checkpoint, stages=1)
    driven.add("one", max_tokens=4)
    assert driven.run_all() == ["one"]
    events = ["sent 0", "answered 0", "sent 1", "sent 2", "answered 1", "sent 3", "answered 2", "answered 3"]
    assert driven.gang.events == events  # what follows the last token is never asked for


def test_a_step_ahead_has_the_place_of_what_the_one_before_draws(checkpoint: Checkpoint) -> None:
    driven = Driven(checkpoint, stages=1)
    driven.add("short", max_tokens=2)
    long = driven.add("long", max_tokens=5)
    while len(long.rows) < 1:
        driven.steps.run()
    driven.steps.run()
    known, ahead = driven.gang.history[-2:]
    assert [list(sequence.tokens) for sequence in known.sequences] == [[ord("x")], [ord("x")]]
    assert [list(sequence.tokens) for sequence in ahead.sequences] == [[drawn_at(1)]]  # the short one ends before
    assert [sequence.draw for sequence in ahead.sequences] == [2]
    assert [known.sequences[1].start + 1] == [sequence.start for sequence in ahead.sequences]
    driven.run_all()
    assert long.ids[-5:] == [ord("x")] * 5


def test_who_comes_never_waits_for_two_steps_that_read_prompts(checkpoint: Checkpoint) -> None:
    driven, wake = Driven(checkpoint, stages=1), 7
    driven.add("one")
    driven.steps.run(wake)  # it reads the prompt
    assert driven.gang.events == ["sent 0", "answered 0"]
    driven.steps.run(wake)
    driven.add("two")
    driven.steps.run(wake)
    assert driven.gang.events[2:] == ["sent 1", "sent 2", "answered 1", "sent 3", "answered 2"]
    assert [len(sequence.tokens) > 1 for sequence in driven.gang.history[3].sequences] == [False, True]
    driven.steps.run(wake)
    assert driven.gang.events[7:] == ["answered 3"]  # nothing is sent behind a step that reads a prompt


def test_one_that_stops_is_in_one_step_more_whose_answer_nobody_takes(checkpoint: Checkpoint) -> None:
    driven = Driven(checkpoint, stages=1)
    all_free = driven.steps.scheduler.free_blocks
    flight = driven.add("one", max_tokens=9, stop=("xxx",))
    ended = []
    while not ended:
        ended = driven.steps.run() or []
    assert [generated.finish_reason for _, generated in ended] == ["stop"]
    assert len(flight.rows) == 3
    assert driven.steps.scheduler.free_blocks != all_free  # the step ahead still writes to them
    assert driven.run_all() == []
    assert len(flight.rows) == 3
    assert driven.steps.counters.generated == 3
    assert driven.steps.scheduler.free_blocks == all_free


def test_the_limits_are_told_what_one_step_takes(checkpoint: Checkpoint) -> None:
    driven = Driven(checkpoint, stages=1)
    for name in ("one", "two"):
        driven.add(name)
    driven.run_all()
    assert {told for told in driven.limits.told if not told[1]} == {(2, 0, STEP_SECONDS)}


def test_what_was_not_drawn_is_not_computed() -> None:
    drawn = drawn_rows([None], 0)
    for place in (0, 1):
        plan = RankPlan(1, (1,), (SequenceStep([drawn_at(place)], 4, [0]),))
        with pytest.raises(PlanError, match="has not drawn"):
            open_plan(pack_plan(plan)).known_tokens(drawn)
    drawn[0, 0] = 7.0
    plan = RankPlan(1, (2,), (SequenceStep([drawn_at(0)], 4, [0]), SequenceStep([5], 1, [1])))
    np.testing.assert_array_equal(open_plan(pack_plan(plan)).known_tokens(drawn), [7, 5])
