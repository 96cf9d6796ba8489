"""A rank at work learns that its epoch is over, and loses no plan that came meanwhile."""

from __future__ import annotations

import socket

import pytest

from serving.engine.control import Channel, ChannelClosed, Kind


def pair() -> tuple[Channel, Channel]:
    driver, rank = (Channel(end) for end in socket.socketpair())
    return driver, rank


def test_plans_of_further_steps_call_nobody_away_and_are_received_in_order() -> None:
    driver, rank = pair()
    for number in (b"1", b"2"):
        driver.send(Kind.PLAN, number)
    assert not rank.called_away()
    driver.send(Kind.PLAN, b"3")
    assert not rank.called_away()
    assert [rank.receive()[1] for _ in range(3)] == [b"1", b"2", b"3"]
    assert not rank.called_away()


def test_a_later_epoch_calls_away_and_what_was_planned_before_is_dropped() -> None:
    driver, rank = pair()
    driver.send(Kind.PLAN, b"1")
    assert not rank.called_away()
    driver.epoch = 2
    driver.send(Kind.VOID, b"")
    assert rank.called_away()
    assert rank.receive() == (Kind.VOID, b"")
    assert rank.epoch == 2
    assert not rank.called_away()


def test_a_driver_that_is_gone_calls_away() -> None:
    driver, rank = pair()
    driver.send(Kind.PLAN, b"1")
    driver.close()
    assert rank.called_away()
    assert rank.receive() == (Kind.PLAN, b"1")
    with pytest.raises(ChannelClosed):
        rank.receive()
