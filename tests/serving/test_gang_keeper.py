"""What the keeper does when a rank is lost: in place, with a spare where there is one, then anew, then no more."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from serving.engine.engine_config import EngineConfig
from serving.engine.generation import GenerationRequest, Message
from serving.gang_keeper import IN_PLACE_ATTEMPTS, REPAIR_ATTEMPTS, GangKeeper
from serving.model.checkpoint import open_checkpoint
from serving.spare_rank import SpareRank
from tests.serving.local_actors import LocalActors
from tests.serving.tiny_checkpoint import CONTEXT

SIZES = {"kv_tokens": 4 * CONTEXT, "most_running": 4, "step_tokens": 32}
WAIT = 60.0  # seconds; only how long a broken test hangs


@asynccontextmanager
async def keeping(
    tiny_checkpoint: Path, spares: int = 0, stages: int = 1
) -> AsyncIterator[tuple[GangKeeper, LocalActors]]:
    """Two ranks, of one stage or of two."""
    checkpoint, config = open_checkpoint(tiny_checkpoint), EngineConfig(ranks=2 // stages, stages=stages, **SIZES)
    actors = LocalActors(checkpoint, config)
    keeper = GangKeeper(checkpoint, config, lambda on_end: actors, spares)
    try:
        await keeper.start()
        yield keeper, actors
    finally:
        await keeper.stop()
        actors.close()


async def answered(keeper: GangKeeper) -> list[int]:
    engine = await keeper.running_engine(WAIT)
    request = GenerationRequest("greedy", (Message("user", "What is 2+2?"),), max_tokens=24)
    generated = await asyncio.wrap_future(engine.submit(request))
    return [token.token_id for token in generated.tokens]


def pids(keeper: GangKeeper) -> list[int]:
    assert keeper.engine is not None
    return [report.pid for report in keeper.engine.reports]


async def lose(keeper: GangKeeper, pid: int) -> None:
    """Returns when the loss was noticed; a spare may have taken the place before anybody could see it vacant."""
    epoch = keeper.epoch
    os.kill(pid, signal.SIGKILL)
    await until(lambda: keeper.epoch > epoch)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT):
        while not condition():  # noqa: ASYNC110 - it is about another process
            await asyncio.sleep(0.01)


async def test_without_a_spare_one_fresh_process_takes_the_place(tiny_checkpoint: Path) -> None:
    async with keeping(tiny_checkpoint) as (keeper, actors):
        undisturbed, (first, second) = await answered(keeper), pids(keeper)
        await lose(keeper, first)
        assert await answered(keeper) == undisturbed
        assert pids(keeper) == [actors.hired[2], second]
        assert len(actors.hired) == 3


async def test_a_spare_takes_the_place_and_another_is_prepared(tiny_checkpoint: Path) -> None:
    async with keeping(tiny_checkpoint, spares=1, stages=2) as (keeper, actors):
        undisturbed, (first, second) = await answered(keeper), pids(keeper)
        await until(lambda: len(actors.hired) == 3)
        await lose(keeper, second)
        assert await answered(keeper) == undisturbed
        assert pids(keeper) == [first, actors.hired[2]]
        await until(lambda: len(actors.hired) == 4)


async def test_a_spare_that_is_on_its_way_is_awaited(tiny_checkpoint: Path) -> None:
    async with keeping(tiny_checkpoint, spares=1) as (keeper, actors):
        first, second = pids(keeper)
        await lose(keeper, second)
        await keeper.running_engine(WAIT)
        assert pids(keeper) == [first, actors.hired[2]]


async def test_all_ranks_lost_at_once_are_replaced(tiny_checkpoint: Path) -> None:
    async with keeping(tiny_checkpoint) as (keeper, _):
        undisturbed, before = await answered(keeper), pids(keeper)
        epoch = keeper.epoch
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        await until(lambda: keeper.epoch > epoch)
        assert await answered(keeper) == undisturbed
        assert not set(pids(keeper)) & set(before)


async def test_what_cannot_be_repaired_in_place_is_built_anew(tiny_checkpoint: Path) -> None:
    async with keeping(tiny_checkpoint) as (keeper, actors):
        undisturbed, (first, second) = await answered(keeper), pids(keeper)
        actors.refusals = IN_PLACE_ATTEMPTS
        await lose(keeper, first)
        assert await answered(keeper) == undisturbed
        assert second not in pids(keeper)
        assert keeper.given_up is None


async def test_after_all_attempts_repair_is_given_up(tiny_checkpoint: Path) -> None:
    async with keeping(tiny_checkpoint) as (keeper, actors):
        actors.refusals = IN_PLACE_ATTEMPTS + REPAIR_ATTEMPTS
        await lose(keeper, pids(keeper)[0])
        await until(lambda: keeper.given_up is not None)
        assert not keeper.ready
        assert actors.refusals == 0


async def test_a_spare_that_has_died_takes_no_place(tiny_checkpoint: Path) -> None:
    async with keeping(tiny_checkpoint, spares=1) as (keeper, actors):
        first, second = pids(keeper)
        await until(lambda: len(actors.hired) == 3)
        os.kill(actors.hired[2], signal.SIGKILL)
        await lose(keeper, first)
        await keeper.running_engine(WAIT)
        assert pids(keeper) == [actors.hired[3], second]


async def test_a_spare_that_ends_unused_is_no_longer_taken(tiny_checkpoint: Path) -> None:
    checkpoint, config = open_checkpoint(tiny_checkpoint), EngineConfig(ranks=1, **SIZES)
    actors = LocalActors(checkpoint, config)
    spare = SpareRank(True, actors.hire, actors.end)
    try:
        spare.prepare()
        await until(lambda: len(actors.hired) == 1)
        await until(lambda: spare.has_ended(actors.hired[0]))
        assert not spare.has_ended(actors.hired[0])
        assert await spare.take(epoch=1) is None
    finally:
        await spare.stop()
        actors.close()


async def test_a_spare_that_failed_or_ended_is_prepared_again(tiny_checkpoint: Path) -> None:
    checkpoint, config = open_checkpoint(tiny_checkpoint), EngineConfig(ranks=1, **SIZES)
    actors = LocalActors(checkpoint, config)
    actors.refusals = 1
    spare = SpareRank(True, actors.hire, actors.end, again_seconds=0.01)
    try:
        spare.prepare()
        await until(lambda: len(actors.hired) == 1)
        assert actors.refusals == 0
        await until(lambda: spare.has_ended(actors.hired[0]))
        await until(lambda: len(actors.hired) == 2)
        member = await spare.take(epoch=1)
        assert member is not None
        assert member.pid == actors.hired[1]
    finally:
        await spare.stop()
        actors.close()


@pytest.mark.parametrize("act", [lambda spare: spare.take(epoch=1), lambda spare: spare.stop()], ids=["take", "stop"])
async def test_where_no_spare_is_wanted_there_is_none(act: Callable[[SpareRank], Awaitable[object]]) -> None:
    async def hire(count: int) -> list[object]:
        raise AssertionError("nobody is to be hired")

    spare = SpareRank(False, hire, hire)  # type: ignore[arg-type]
    spare.prepare()
    assert await act(spare) is None
