"""The shortest steps are answered some at a time; each still counts as long as it took."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.engine.control import Channel, Kind
from serving.engine.told import MOST, WINDOW, Told
from serving.model.checkpoint import Checkpoint, open_checkpoint
from tests.serving.pretended_steps import Driven


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Path) -> Checkpoint:
    return open_checkpoint(tiny_checkpoint)


@pytest.fixture
def channels() -> Iterator[tuple[Channel, Channel]]:
    one, other = socket.socketpair()
    with one, other:
        yield Channel(one), Channel(other)


def test_long_steps_are_told_one_by_one() -> None:
    told = Told()
    for number in range(1, 5):
        assert not told.may_keep()
        assert told.take(WINDOW * (number - 1), WINDOW * number, more=False) == pytest.approx(WINDOW)
    assert told.together == 1


def test_as_many_are_told_together_as_the_window_holds() -> None:
    told, step = Told(), WINDOW / 3.5
    assert told.take(0.0, step, more=False) == pytest.approx(step)
    assert told.together == 3
    assert [told.may_keep() for _ in range(7)] == [True, True, False, True, True, False, True]
    assert told.take(step, 4 * step, more=True) is None
    assert told.take(2 * step, 4 * step, more=True) is None
    assert told.take(3 * step, 4 * step, more=False) == pytest.approx(step)
    told.take(4 * step, 4 * step + WINDOW / 1000, more=False)
    assert told.together == MOST


def test_a_pause_between_two_steps_is_none_of_their_time() -> None:
    told = Told()
    told.take(0.0, 0.001, more=False)
    assert told.take(5.0, 5.004, more=True) is None
    assert told.take(5.001, 5.004, more=False) == pytest.approx(0.002)


def test_short_steps_are_sent_in_twos_of_what_is_told_together(checkpoint: Checkpoint) -> None:
    driven = Driven(checkpoint, stages=1)
    driven.gang.step_seconds = WINDOW / 2.5
    long = driven.add("long", max_tokens=40)
    while len(long.rows) < 20:
        driven.steps.run()
    plans = driven.gang.history
    assert len(driven.gang.sent) in (3, 4)
    assert [plan.may_keep for plan in plans[-4:]] in ([True, False, True, False], [False, True, False, True])
    assert not any(plan.may_keep for plan in plans if any(len(sequence.tokens) > 1 for sequence in plan.sequences))
    assert driven.run_all() == ["long"]
    assert long.ids[-40:] == [ord("x")] * 40
    assert driven.limits.told[-1] == (1, 0, pytest.approx(WINDOW / 2.5, rel=0.01))


def test_what_prompts_take_is_not_mixed_with_what_is_told_before_them(checkpoint: Checkpoint) -> None:
    driven = Driven(checkpoint, stages=1)
    driven.gang.step_seconds, driven.gang.prompt_seconds = WINDOW / 4.5, 0.03
    long = driven.add("long", max_tokens=60)
    for _ in range(3):
        count = len(long.rows) + 8
        while len(long.rows) < count:
            driven.steps.run()
        driven.add(f"short {count}", max_tokens=1)
    driven.run_all()
    reading = [seconds for _, tokens, seconds in driven.limits.told if tokens]
    assert reading == [pytest.approx(WINDOW / 4.5 + 0.03, rel=0.01)] * 4
    assert all(seconds < WINDOW for _, tokens, seconds in driven.limits.told if not tokens)
    assert any(plan.may_keep for plan in driven.gang.history)
    assert [plan.step for plan in driven.gang.history if plan.reads_prompts] == [
        plan.step for plan in driven.gang.history if max(len(sequence.tokens) for sequence in plan.sequences) > 1
    ]


def test_what_is_kept_goes_before_what_is_sent(channels: tuple[Channel, Channel]) -> None:
    rank, driver = channels
    rank.keep(Kind.ANSWER, b"one")
    rank.keep(Kind.ANSWER, b"two")
    assert not driver.has_more()
    rank.send(Kind.DONE, b"")
    assert driver.has_more()
    assert [driver.receive() for _ in range(3)] == [(Kind.ANSWER, b"one"), (Kind.ANSWER, b"two"), (Kind.DONE, b"")]
    rank.send_kept()
    assert not driver.has_more()


def test_what_waits_ahead_of_its_turn_counts_as_more(channels: tuple[Channel, Channel]) -> None:
    rank, driver = channels
    driver.send(Kind.PLAN, b"next")
    assert not rank.called_away()  # it looks at the message, and keeps it
    assert rank.has_more()
    assert rank.receive() == (Kind.PLAN, b"next")
    assert not rank.has_more()
