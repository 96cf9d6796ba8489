"""A gang outlives a lost rank: the others keep their process, a newcomer takes the place, the answers stay the same."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from serving.engine.control import Channel, Kind
from serving.engine.engine import Engine
from serving.engine.engine_config import EngineConfig
from serving.engine.errors import RankLost
from serving.engine.generation import GenerationRequest, Message
from serving.engine.local import LocalRanks
from serving.model.checkpoint import Checkpoint, open_checkpoint
from tests.serving.tiny_checkpoint import CONTEXT

SIZES = {"kv_tokens": 4 * CONTEXT, "most_running": 4, "step_tokens": 32}
WAIT = 60.0  # seconds; only how long a broken test hangs


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Path) -> Checkpoint:
    return open_checkpoint(tiny_checkpoint)


@contextmanager
def epoch_of(ranks: LocalRanks, checkpoint: Checkpoint, config: EngineConfig, epoch: int) -> Iterator[Engine]:
    engine = Engine(ranks.roster.assemble(epoch), checkpoint, config)
    try:
        yield engine
    finally:
        engine.close()


def endless(name: str) -> GenerationRequest:
    return GenerationRequest(name, (Message("user", "What is 2+2?"),), max_tokens=CONTEXT - 40)


def answers(engine: Engine) -> list[list[int]]:
    """Greedy, of several sequences on both ranks."""
    asked = [GenerationRequest(f"{n}", (Message("user", "x" * n),), max_tokens=24) for n in range(1, 7)]
    return [[token.token_id for token in each.result(WAIT).tokens] for each in [engine.submit(one) for one in asked]]


@pytest.mark.parametrize(("exchange", "count"), [("shm", 2), ("gloo", 3)])
def test_a_killed_rank_is_replaced_and_the_others_stay(checkpoint: Checkpoint, exchange: str, count: int) -> None:
    config = EngineConfig(ranks=count, exchange=exchange, exchange_seconds=20.0, **SIZES)  # type: ignore[arg-type]
    with LocalRanks(checkpoint, config) as ranks:
        ranks.roster.fill(ranks.start(count))
        with epoch_of(ranks, checkpoint, config, 1) as engine:
            undisturbed, before = answers(engine), ranks.roster.pids
            flights = [engine.submit(endless(f"flight-{n}")) for n in range(6)]
            os.kill(before[1], signal.SIGKILL)
            for flight in flights:
                with pytest.raises(RankLost):
                    flight.result(WAIT)

        gone = ranks.roster.muster(2)
        assert [member.pid for member in gone] == [before[1]]
        assert ranks.roster.vacant == [1]
        newcomer = ranks.start(1)
        ranks.roster.fill(newcomer)
        with epoch_of(ranks, checkpoint, config, 2) as engine:
            assert answers(engine) == undisturbed
            assert ranks.roster.pids == [before[0], newcomer[0].pid, *before[2:]]
            assert [report.pid for report in engine.reports] == ranks.roster.pids


def test_a_spare_takes_any_place_and_one_after_another(checkpoint: Checkpoint) -> None:
    config = EngineConfig(ranks=2, **SIZES)
    with LocalRanks(checkpoint, config) as ranks:
        first, second, *spares = ranks.start(4)
        ranks.roster.fill([first, second])
        with epoch_of(ranks, checkpoint, config, 1) as engine:
            undisturbed = answers(engine)
        for epoch, lost in enumerate((0, 1), 2):
            os.kill(ranks.roster.pids[lost], signal.SIGKILL)
            assert len(ranks.roster.muster(epoch)) == 1
            ranks.roster.fill([spares.pop()])
            with epoch_of(ranks, checkpoint, config, epoch) as engine:
                assert answers(engine) == undisturbed


def test_a_stopped_rank_is_named_and_loses_its_place(checkpoint: Checkpoint) -> None:
    config = EngineConfig(ranks=2, exchange="shm", exchange_seconds=3.0, **SIZES)
    with LocalRanks(checkpoint, config) as ranks:
        ranks.roster.fill(ranks.start(2))
        with epoch_of(ranks, checkpoint, config, 1) as engine:
            undisturbed, before = answers(engine), ranks.roster.pids
            os.kill(before[1], signal.SIGSTOP)
            with pytest.raises(RankLost) as caught:
                engine.submit(endless("stalled")).result(WAIT)
        assert caught.value.rank == 1
        stopped = ranks.roster.dismiss(1)
        assert stopped is not None
        assert ranks.roster.muster(2) == []
        ranks.roster.fill(ranks.start(1))
        with epoch_of(ranks, checkpoint, config, 2) as engine:
            assert answers(engine) == undisturbed
        os.kill(stopped.pid, signal.SIGKILL)


def test_a_rank_that_does_not_answer_the_muster_loses_its_place(checkpoint: Checkpoint) -> None:
    config = EngineConfig(ranks=2, muster_seconds=1.0, **SIZES)
    with LocalRanks(checkpoint, config) as ranks:
        ranks.roster.fill(ranks.start(2))
        ranks.roster.assemble(1)
        stopped = ranks.roster.pids[0]
        os.kill(stopped, signal.SIGSTOP)
        assert [member.pid for member in ranks.roster.muster(2)] == [stopped]
        os.kill(stopped, signal.SIGKILL)


def test_a_rank_that_wakes_during_the_muster_keeps_its_place(checkpoint: Checkpoint) -> None:
    config = EngineConfig(ranks=2, exchange="shm", exchange_seconds=300.0, step_seconds=3.0, **SIZES)
    with LocalRanks(checkpoint, config) as ranks, ThreadPoolExecutor(1) as pool:
        ranks.roster.fill(ranks.start(2))
        with epoch_of(ranks, checkpoint, config, 1) as engine:
            undisturbed, before = answers(engine), ranks.roster.pids
            os.kill(before[1], signal.SIGSTOP)
            with pytest.raises(RankLost, match=r"no answer within 3 s"):
                engine.submit(endless("stalled")).result(WAIT)
        mustered = pool.submit(ranks.roster.muster, 2)
        os.kill(before[1], signal.SIGCONT)  # what both still say of the former epoch comes late
        assert mustered.result(WAIT) == []
        with epoch_of(ranks, checkpoint, config, 3) as engine:
            assert answers(engine) == undisturbed
        assert ranks.roster.pids == before


def test_a_rank_in_an_exchange_that_nobody_joins_is_called_away(checkpoint: Checkpoint) -> None:
    config = EngineConfig(ranks=2, exchange="shm", exchange_seconds=300.0, step_seconds=300.0, **SIZES)
    with LocalRanks(checkpoint, config) as ranks:
        ranks.roster.fill(ranks.start(2))
        with epoch_of(ranks, checkpoint, config, 1) as engine:
            waiting, lost = ranks.roster.pids
            os.kill(lost, signal.SIGSTOP)
            flight = engine.submit(endless("void"))
            os.kill(lost, signal.SIGKILL)
            with pytest.raises(RankLost):
                flight.result(WAIT)
        assert [member.pid for member in ranks.roster.muster(2)] == [lost]  # far sooner than the exchange's limit
        assert ranks.roster.pids == [waiting]


def test_a_gang_that_lacks_a_rank_is_not_assembled(checkpoint: Checkpoint) -> None:
    config = EngineConfig(ranks=2, **SIZES)
    with LocalRanks(checkpoint, config) as ranks:
        ranks.roster.fill(ranks.start(2))
        os.kill(ranks.roster.pids[1], signal.SIGKILL)
        with pytest.raises(RankLost) as caught:
            ranks.roster.assemble(1)
        assert caught.value.rank == 1


def test_late_messages_of_an_earlier_epoch_are_dropped() -> None:
    ours, theirs = (Channel(end) for end in socket.socketpair())
    theirs.send(Kind.ANSWER, b"late")
    ours.epoch = 2
    ours.send(Kind.VOID, b"")
    assert theirs.receive() == (Kind.VOID, b"")
    theirs.send(Kind.DONE, b"now")
    assert ours.receive() == (Kind.DONE, b"now")
    assert theirs.epoch == ours.epoch == 2
