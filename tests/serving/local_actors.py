"""Rank processes for a gang keeper without Ray: plain subprocesses, whose hiring a test can make fail."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress

from serving.engine.engine_config import EngineConfig
from serving.engine.errors import RankLost
from serving.engine.local import LocalRanks
from serving.engine.rendezvous import GangMember
from serving.model.checkpoint import Checkpoint


class LocalActors:
    """What serving.gang_keeper.Actors says; nobody watches: a rank's end shows as the end of its stream."""

    def __init__(self, checkpoint: Checkpoint, config: EngineConfig) -> None:
        self._ranks = LocalRanks(checkpoint, config)
        self.hired: list[int] = []
        self.refusals = 0  # so many hirings fail next

    async def hire(self, count: int) -> list[GangMember]:
        if self.refusals:
            self.refusals -= 1
            raise RankLost(None, "there is no place for it")
        members = await asyncio.to_thread(self._ranks.start, count)
        self.hired += [member.pid for member in members]
        return members

    async def end(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    async def stop(self) -> None:
        for pid in self.hired:
            await self.end(pid)

    def close(self) -> None:
        self._ranks.__exit__(None, None, None)
