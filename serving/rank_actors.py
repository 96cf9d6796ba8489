"""The rank actors of one gang, each in its bundle of the replica's placement group, watched until they end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from serving.engine.errors import RankLost
from serving.experts.rank_settings import RankSettings


class Rank:
    """The process of one rank. Torch is imported here and nowhere else in the application."""

    def pid(self) -> int:
        return os.getpid()

    def run(self, settings: RankSettings) -> None:
        from serving.experts.rank import run_rank

        run_rank(settings)


class RankActors:
    """Ranks that start together and are let go together; no rank is ever restarted alone."""

    def __init__(self, cpu_share: float, on_end: Callable[[RankLost], None]) -> None:
        """`on_end` is called on the event loop for every rank that ends without being stopped."""
        self._actor = ray.remote(num_cpus=cpu_share, max_restarts=0, max_task_retries=0)(Rank)
        self._on_end = on_end
        self._actors: list[Any] = []
        self._watches: list[asyncio.Task[None]] = []
        self._ended: RankLost | None = None
        self.pids: list[int] = []  # by rank

    async def start(self, settings: Sequence[RankSettings]) -> None:
        """Create every rank at once (bundle 0 is the replica's own) and set them running. Raises RayError."""
        group = ray.util.get_current_placement_group()
        self._actors = [
            self._actor.options(
                scheduling_strategy=PlacementGroupSchedulingStrategy(
                    placement_group=group, placement_group_bundle_index=one.rank + 1
                )
            ).remote()
            for one in settings
        ]
        self.pids = list(await asyncio.gather(*(actor.pid.remote() for actor in self._actors)))
        self._watches = [
            asyncio.create_task(self._watch(one.rank, actor.run.remote(one)))
            for one, actor in zip(settings, self._actors, strict=True)
        ]

    def check(self) -> None:
        """Raises RankLost when a rank has ended."""
        if self._ended:
            raise RankLost(self._ended.rank, self._ended.reason)

    async def _watch(self, rank: int, running: Any) -> None:
        try:
            await running
            reason = "it stopped"
        except ray.exceptions.RayActorError:
            reason = "its process died"
        except ray.exceptions.RayTaskError as error:
            reason = f"it failed: {error.cause!r}"
        self._ended = RankLost(rank, reason)
        self._on_end(self._ended)

    async def stop(self) -> None:
        """End every rank at once, also one that is stopped or busy in a kernel call, and wait until all are gone."""
        for watch in self._watches:
            watch.cancel()
        for actor in self._actors:
            ray.kill(actor, no_restart=True)
        for pid in self.pids:
            await _end_process(pid)


async def _end_process(pid: int) -> None:
    """STRICT_PACK keeps a gang on its replica's node, so the process can be reached without Ray's help."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        for _ in range(100):
            os.kill(pid, 0)
            await asyncio.sleep(0.02)
