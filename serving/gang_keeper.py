"""Keeps an engine running on a gang of rank actors: when a rank is lost, all are replaced in place by a new epoch."""

from __future__ import annotations

import asyncio
import time

import structlog

from serving.engine.engine import Engine
from serving.engine.engine_config import EngineConfig
from serving.engine.errors import RankLost
from serving.engine.rendezvous import Rendezvous
from serving.model.checkpoint import Checkpoint
from serving.rank_actors import RankActors

log = structlog.get_logger()

REPAIR_ATTEMPTS = 3
PLACEMENT_SECONDS = 30.0  # for Ray to find each rank its bundle and a process, before the rank's own start


class GangKeeper:
    """Everything here runs on one event loop; only the engine has a thread of its own."""

    def __init__(self, checkpoint: Checkpoint, config: EngineConfig, cpu_share: float) -> None:
        self.checkpoint, self.config = checkpoint, config
        self.epoch = 0  # grows with every attempt; what an older epoch still reports is not heard
        self.given_up: str | None = None  # why no further repair is tried
        self._cpu_share = cpu_share
        self._ready = asyncio.Event()
        self._engine: Engine | None = None
        self._actors: RankActors | None = None
        self._repair: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        return self._ready.is_set()

    @property
    def engine(self) -> Engine | None:
        """The present epoch's engine; None before the first start is complete and while a repair runs."""
        return self._engine

    async def start(self) -> None:
        """Raises RankLost or RayError when the ranks do not come up."""
        await self._bring_up()

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
        if self._repair:
            self._repair.cancel()
        await self._let_go()

    async def _bring_up(self) -> None:
        self.epoch += 1
        epoch, started = self.epoch, time.monotonic()
        loop = asyncio.get_running_loop()
        actors = self._actors = RankActors(self._cpu_share, lambda lost: self._lost(epoch, lost))
        with Rendezvous(self.checkpoint, self.config) as rendezvous:
            await actors.start([rendezvous.settings(rank) for rank in range(self.config.ranks)])
            assembled = await asyncio.to_thread(rendezvous.assemble, actors.check)
        self._engine = Engine(
            assembled,
            self.checkpoint,
            self.config,
            on_lost=lambda lost: _call_on(loop, self._lost, epoch, lost),
        )
        self._ready.set()
        log.info("gang.ready", epoch=epoch, pids=actors.pids, seconds=round(time.monotonic() - started, 2))

    def _lost(self, epoch: int, lost: RankLost) -> None:
        """The engine, the actor's end, or both tell of a loss: the first one heard counts."""
        if epoch != self.epoch or not self.ready:
            return
        self._ready.clear()
        log.error("rank.lost", rank=lost.rank, reason=lost.reason, epoch=epoch)
        self._repair = asyncio.create_task(self._rebuild())

    async def _rebuild(self) -> None:
        for attempt in range(1, REPAIR_ATTEMPTS + 1):
            try:
                await self._let_go()
                async with asyncio.timeout(self.config.start_seconds + PLACEMENT_SECONDS):
                    await self._bring_up()
                return
            except Exception as error:  # whatever stands in the way: try again, then ask to be replaced
                log.error("gang.repair_failed", attempt=attempt, error=repr(error))
        self.given_up = f"its ranks could not be replaced in {REPAIR_ATTEMPTS} attempts"

    async def _let_go(self) -> None:
        self._ready.clear()
        engine, self._engine = self._engine, None
        if engine:
            await asyncio.to_thread(engine.close)
        if self._actors:
            await self._actors.stop()


def _call_on(loop: asyncio.AbstractEventLoop, function: object, *arguments: object) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(function, *arguments)  # type: ignore[arg-type]
