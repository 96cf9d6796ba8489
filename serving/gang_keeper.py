"""Keeps an engine running on a gang of ranks: a lost rank is replaced in place, and the others go on in a new epoch."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from serving.engine.engine import Engine
from serving.engine.engine_config import EngineConfig
from serving.engine.errors import RankLost
from serving.engine.rendezvous import GangMember
from serving.engine.roster import Roster
from serving.model.checkpoint import Checkpoint
from serving.spare_rank import SpareRank

log = structlog.get_logger()

IN_PLACE_ATTEMPTS = 2  # the second for a rank that is lost during the first
REPAIR_ATTEMPTS = 3  # of a whole new gang, when that was in vain
STOP_SECONDS = 3.0  # for a repair under way to end what it has started


class Actors(Protocol):
    """Where rank processes come from: serving/rank_actors.py."""

    async def hire(self, count: int) -> list[GangMember]: ...

    async def end(self, pid: int) -> None: ...

    async def stop(self) -> None: ...


OnEnd = Callable[[int, RankLost], None]  # with the id of a process that ended by itself


class GangKeeper:
    """Everything here runs on one event loop; only the engine has a thread of its own."""

    def __init__(
        self, checkpoint: Checkpoint, config: EngineConfig, actors: Callable[[OnEnd], Actors], spares: int = 0
    ) -> None:
        """`spares`: 0 or 1."""
        self.checkpoint, self.config = checkpoint, config
        self.epoch = 0  # grows with every attempt; what an older epoch still reports is not heard
        self.given_up: str | None = None  # why no further repair is tried
        self._roster = Roster(checkpoint, config)
        self._actors = actors(self._ended)
        self._spare = SpareRank(spares > 0, self._actors.hire, self._actors.end)
        self._ready = asyncio.Event()
        self._engine: Engine | None = None
        self._repair: asyncio.Task[None] | None = None
        self._context = contextvars.copy_context()  # what log lines bear, also those that another thread causes

    @property
    def ready(self) -> bool:
        return self._ready.is_set()

    @property
    def engine(self) -> Engine | None:
        """The present epoch's engine; None before the first start is complete and while a repair runs."""
        return self._engine

    async def start(self) -> None:
        """Raises RankLost or RayError when the ranks do not come up."""
        await self._all_anew(time.monotonic())
        self._spare.prepare()

    async def running_engine(self, seconds: float) -> Engine:
        """The engine, after a repair if one runs. Raises RankLost when that takes longer than `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._ready.wait()
        except TimeoutError as error:
            raise RankLost(None, "the ranks are still being replaced") from error
        if self._engine is None:
            raise RankLost(None, "it was lost again at once")
        return self._engine

    async def stop(self) -> None:
        self._ready.clear()
        if self._repair:
            self._repair.cancel()
            await asyncio.wait({self._repair}, timeout=STOP_SECONDS)
        await self._let_all_go()

    def _ended(self, pid: int, lost: RankLost) -> None:
        """An actor's end. The engine usually knows already: it sees the end of the rank's stream."""
        rank = self._roster.rank_of(pid)
        if not self._spare.has_ended(pid) and rank is not None:
            self._lost(self.epoch, RankLost(rank, lost.reason))

    def _lost(self, epoch: int, lost: RankLost) -> None:
        """The engine, the actor's end, or both tell of a loss: the first one heard counts."""
        if epoch != self.epoch or not self.ready:
            return
        self._ready.clear()
        log.error("rank.lost", rank=lost.rank, reason=lost.reason, epoch=epoch)
        self._repair = asyncio.create_task(self._repaired(lost, time.monotonic()))

    async def _repaired(self, lost: RankLost, since: float) -> None:
        await self._close_engine()
        for attempt in range(1, IN_PLACE_ATTEMPTS + REPAIR_ATTEMPTS + 1):
            try:
                if attempt <= IN_PLACE_ATTEMPTS:
                    await self._in_place(lost, since)
                else:
                    await self._all_anew(since)
                self._spare.prepare()
                return
            except Exception as error:  # whatever stands in the way: try again, then ask to be replaced
                log.error("gang.repair_failed", attempt=attempt, error=repr(error))
                lost = error if isinstance(error, RankLost) else RankLost(None, repr(error))
        self.given_up = f"its ranks could not be replaced in {attempt} attempts"

    async def _in_place(self, lost: RankLost, since: float) -> None:
        """Who is lost is replaced, the others keep their process and their weights."""
        epoch = self._begin_epoch()
        named = self._roster.dismiss(lost.rank) if lost.rank is not None else None
        if named is not None:  # first, so that no other waits for it in an exchange
            await self._actors.end(named.pid)
        for member in await asyncio.to_thread(self._roster.muster, epoch):
            await self._actors.end(member.pid)
        self._roster.fill(await self._newcomers(len(self._roster.vacant), epoch))
        await self._set_to_work(epoch, since)

    async def _all_anew(self, since: float) -> None:
        epoch = self._begin_epoch()
        await self._let_all_go()
        self._roster.fill(await self._actors.hire(self.config.places))
        await self._set_to_work(epoch, since)

    async def _newcomers(self, count: int, epoch: int) -> list[GangMember]:
        spare = await self._spare.take(epoch) if count else None
        newcomers = [] if spare is None else [spare]
        try:
            if len(newcomers) < count:
                newcomers += await self._actors.hire(count - len(newcomers))
        except BaseException:
            if spare is not None:  # nobody else knows of it any more
                spare.channel.close()
                await self._actors.end(spare.pid)
            raise
        return newcomers

    async def _set_to_work(self, epoch: int, since: float) -> None:
        gang, loop = await asyncio.to_thread(self._roster.assemble, epoch), asyncio.get_running_loop()

        def tell(lost: RankLost) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._lost, epoch, lost, context=self._context)

        self._engine = Engine(gang, self.checkpoint, self.config, on_lost=tell)
        self._ready.set()
        log.info("gang.ready", epoch=epoch, pids=self._roster.pids, seconds=round(time.monotonic() - since, 2))

    def _begin_epoch(self) -> int:
        self.epoch += 1
        return self.epoch

    async def _close_engine(self) -> None:
        self._ready.clear()
        engine, self._engine = self._engine, None
        if engine:
            await asyncio.to_thread(engine.close)

    async def _let_all_go(self) -> None:
        """The processes first: an engine in the middle of a step then sees the end of their streams at once."""
        await self._spare.stop()
        await self._actors.stop()
        await self._close_engine()
        self._roster.close()
