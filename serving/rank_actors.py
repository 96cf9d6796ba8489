"""Rank actors, each in a bundle of the replica's placement group of its own, watched until they end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from serving.engine.engine_config import EngineConfig
from serving.engine.errors import RankLost
from serving.engine.rendezvous import GangMember, Rendezvous
from serving.experts.rank_settings import RankSettings
from serving.model.checkpoint import Checkpoint

PLACEMENT_SECONDS = 30.0  # for Ray to find each rank its bundle and a process, before the rank's own start


class Rank:
    """The process of one rank. Torch is imported here and nowhere else in the application."""

    def pid(self) -> int:
        return os.getpid()

    def run(self, settings: RankSettings) -> None:
        from serving.experts.rank import run_rank

        run_rank(settings)


@dataclass(frozen=True, slots=True)
class _Living:
    actor: Any
    bundle: int
    watch: asyncio.Task[None]


class RankActors:
    """Every process that is a rank or could become one. Ray never restarts one: it would come back without its place.

    Use from one event loop.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        config: EngineConfig,
        cpu_share: float,
        most: int,
        on_end: Callable[[int, RankLost], None],
    ) -> None:
        """`most` live at once. `on_end` is called, with its process id, for each that ends without being ended here."""
        self._checkpoint, self._config, self._on_end = checkpoint, config, on_end
        self._actor = ray.remote(num_cpus=cpu_share, max_restarts=0, max_task_retries=0)(Rank)
        self._free = list(range(1, most + 1))  # bundles; 0 is the replica's own
        self._living: dict[int, _Living] = {}  # by process id
        self._leaving: dict[int, asyncio.Event] = {}  # set when that process is gone and its bundle is free
        self._ended: dict[int, str] = {}  # why, by process id, of those that ended by themselves

    async def hire(self, count: int) -> list[GangMember]:
        """New processes that could take a place. Raises RankLost or RayError, also when they take too long."""
        with Rendezvous(self._checkpoint, self._config) as rendezvous:
            pids: list[int] = []
            try:
                async with asyncio.timeout(PLACEMENT_SECONDS + self._config.start_seconds):
                    pids = await self._create(count, rendezvous.settings())
                    return await asyncio.to_thread(rendezvous.accept, count, lambda: self._check(pids))
            except TimeoutError as error:
                await self._end_all(pids)
                raise RankLost(None, "Ray found no place for it in time") from error
            except BaseException:
                await self._end_all(pids)
                raise

    async def end(self, pid: int) -> None:
        """At once, also one that is stopped or busy in a kernel call; returns when it is gone."""
        living = self._living.pop(pid, None)
        if living is None:  # it ends by itself
            if pid in self._leaving:
                await self._leaving[pid].wait()
            return
        living.watch.cancel()
        ray.kill(living.actor, no_restart=True)
        await _end_process(pid)
        self._free.append(living.bundle)

    async def stop(self) -> None:
        await self._end_all([*self._living, *self._leaving])

    async def _create(self, count: int, settings: RankSettings) -> list[int]:
        """The process ids of actors that run. Raises RayError; RankLost when fewer bundles are free."""
        if len(self._free) < count:
            raise RankLost(None, f"{count} bundles are wanted and {len(self._free)} free")
        bundles, self._free = self._free[:count], self._free[count:]
        actors: list[Any] = []
        try:
            for bundle in bundles:
                actors.append(self._in_bundle(bundle).remote())
            pids = list(await asyncio.gather(*(actor.pid.remote() for actor in actors)))
        except BaseException:
            for actor in actors:
                ray.kill(actor, no_restart=True)
            self._free += bundles
            raise
        for pid, actor, bundle in zip(pids, actors, bundles, strict=True):
            self._ended.pop(pid, None)  # of an earlier process
            watch = asyncio.create_task(self._watch(pid, actor.run.remote(settings)))
            self._living[pid] = _Living(actor, bundle, watch)
        return pids

    def _in_bundle(self, bundle: int) -> Any:
        place = PlacementGroupSchedulingStrategy(
            placement_group=ray.util.get_current_placement_group(), placement_group_bundle_index=bundle
        )
        return self._actor.options(scheduling_strategy=place)

    async def _watch(self, pid: int, running: Any) -> None:
        try:
            await running
            reason = "it stopped"
        except ray.exceptions.RayActorError:
            reason = "its process died"
        except ray.exceptions.RayTaskError as error:
            reason = f"it failed: {error.cause!r}"
        self._ended[pid] = reason
        living = self._living.pop(pid)  # one that failed still has its process
        gone = self._leaving[pid] = asyncio.Event()
        try:
            ray.kill(living.actor, no_restart=True)
            await _end_process(pid)
            self._free.append(living.bundle)
        finally:
            del self._leaving[pid]
            gone.set()
        self._on_end(pid, RankLost(None, reason))

    def _check(self, pids: list[int]) -> None:
        """Raises RankLost when one of them has ended."""
        for pid in pids:
            if pid in self._ended:
                raise RankLost(None, self._ended[pid])

    async def _end_all(self, pids: list[int]) -> None:
        for pid in pids:
            await self.end(pid)


async def _end_process(pid: int) -> None:
    """STRICT_PACK keeps a gang on its replica's node, so the process can be reached without Ray's help."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        for _ in range(100):
            os.kill(pid, 0)
            await asyncio.sleep(0.02)
