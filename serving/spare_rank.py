"""Keeps one rank process ready ahead of need; where none is wanted, or it is not there, there is simply none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from serving.engine.rendezvous import GangMember
from serving.engine.roster import answering

log = structlog.get_logger()

AGAIN_SECONDS = 30.0  # after one that failed or died unused: what ends it, too little memory say, is not to be fed


class SpareRank:
    """Use from one event loop."""

    def __init__(
        self,
        wanted: bool,
        hire: Callable[[int], Awaitable[list[GangMember]]],
        end: Callable[[int], Awaitable[None]],
        again_seconds: float = AGAIN_SECONDS,
    ) -> None:
        self._wanted, self._hire, self._end, self._again_seconds = wanted, hire, end, again_seconds
        self._coming: asyncio.Task[GangMember | None] | None = None  # done when it is there
        self._later: asyncio.TimerHandle | None = None

    def prepare(self) -> None:
        """In the background, unless there is one or none is wanted; a failure is logged, and tried again later."""
        self._put_off(None)
        if self._wanted and self._coming is None:
            self._coming = asyncio.create_task(self._come())

    async def take(self, epoch: int) -> GangMember | None:
        """The one that is there or on its way, if it answers; it is then no longer the spare."""
        self._put_off(None)
        coming, self._coming = self._coming, None
        if coming is None:
            return None
        member = await coming
        if member is None:
            return None
        answers = await asyncio.to_thread(answering, {0: member}, epoch)
        if answers:
            return member
        member.channel.close()
        await self._end(member.pid)
        return None

    def has_ended(self, pid: int) -> bool:
        """Whether that was the spare; another is then prepared, later."""
        member = self._present()
        if member is None or member.pid != pid:
            return False
        log.error("spare.lost", pid=pid)
        member.channel.close()
        self._again_later()
        return True

    async def stop(self) -> None:
        """Neither one there nor one on its way remains."""
        self._put_off(None)
        member, coming, self._coming = self._present(), self._coming, None
        if coming is not None:
            coming.cancel()
            await asyncio.wait({coming})
        if member is not None:
            member.channel.close()
            await self._end(member.pid)

    async def _come(self) -> GangMember | None:
        began = time.monotonic()
        try:
            (member,) = await self._hire(1)
        except Exception as error:  # a gang without a spare works all the same
            log.error("spare.failed", error=repr(error))
            if self._coming is asyncio.current_task():  # nobody waits for it, so nobody else prepares the next
                self._again_later()
            return None
        log.info("spare.ready", pid=member.pid, seconds=round(time.monotonic() - began, 2))
        return member

    def _present(self) -> GangMember | None:
        there = self._coming is not None and self._coming.done() and not self._coming.cancelled()
        return self._coming.result() if there and self._coming is not None else None

    def _again_later(self) -> None:
        self._coming = None
        self._put_off(asyncio.get_running_loop().call_later(self._again_seconds, self.prepare))

    def _put_off(self, later: asyncio.TimerHandle | None) -> None:
        if self._later is not None:
            self._later.cancel()
        self._later = later
