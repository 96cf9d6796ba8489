"""Asks Valkey for its order of a desk, and leaves it alone for a while when it did not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import TypeVar

from storage.errors import QueueUnreachable
from storage.review_queue import ReviewQueue

AWAY_SECONDS = 5.0  # one that hangs costs each who asks its whole time-out, and SQL knows an order too
Result = TypeVar("Result")


class Hints:
    """Every method raises QueueUnreachable, without asking where Valkey was away within AWAY_SECONDS."""

    def __init__(self, queue: ReviewQueue, clock: Callable[[], float] = monotonic) -> None:
        self._queue, self._clock = queue, clock
        self._away_until = clock()

    async def most_urgent(self, tenant: str, limit: int, offset: int) -> list[str]:
        return await self._asked(lambda: self._queue.most_urgent(tenant, limit, offset))

    async def forget(self, ids: list[str], tenant: str) -> None:
        await self._asked(lambda: self._queue.remove_all(ids, tenant))

    async def _asked(self, ask: Callable[[], Result]) -> Result:
        if self._clock() < self._away_until:
            raise QueueUnreachable("Valkey did not answer a moment ago.")
        try:
            return await asyncio.to_thread(ask)
        except QueueUnreachable:
            self._away_until = self._clock() + AWAY_SECONDS
            raise
