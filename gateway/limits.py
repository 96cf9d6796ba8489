"""Knows how many questions may be under way at once, in all and for one key; what is beyond is refused at once."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.errors import ApiError, unavailable

LONGEST_IN_LINE_SECONDS = 5.0
RETRY_AFTER_SECONDS = 1


class Places:
    """Places for questions under way, and a short line before them. Only for use on the event loop."""

    def __init__(self, most: int, most_per_key: int, most_waiting: int) -> None:
        """At most `most` places, of which one key takes `most_per_key`, those in line included."""
        self._most, self._most_per_key, self._most_waiting = most, most_per_key, most_waiting
        self._taken = 0
        self._of_key: Counter[str] = Counter()
        self._line: deque[asyncio.Future[None]] = deque()

    def require_room(self) -> None:
        """Raises ApiError 503 when places and line are full, whoever asks: cheaper than finding out who does."""
        if self._is_full():
            raise overloaded()

    @asynccontextmanager
    async def place(self, key_id: str) -> AsyncIterator[None]:
        """A place while the block runs.

        Raises ApiError 429 when the key has its share already, 503 when the line is full or does not move.
        """
        if self._of_key[key_id] >= self._most_per_key:
            raise too_many(self._most_per_key)
        self._of_key[key_id] += 1
        try:
            await self._enter()
            try:
                yield
            finally:
                self._leave()
        finally:
            self._of_key[key_id] -= 1
            if not self._of_key[key_id]:
                del self._of_key[key_id]

    async def _enter(self) -> None:
        if self._taken < self._most:
            self._taken += 1
            return
        self.require_room()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            async with asyncio.timeout(LONGEST_IN_LINE_SECONDS):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # the place came at the very moment of leaving the line
                self._leave()
            elif turn in self._line:  # or whoever left a place meanwhile has taken it out already
                self._line.remove(turn)
            if isinstance(error, TimeoutError):
                raise overloaded() from None
            raise

    def _is_full(self) -> bool:
        return self._taken >= self._most and len(self._line) >= self._most_waiting

    def _leave(self) -> None:
        """Gives the place to the first in line."""
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._taken -= 1


def overloaded() -> ApiError:
    return unavailable("Too many questions are under way here; ask again shortly.", "overloaded", RETRY_AFTER_SECONDS)


def too_many(most: int) -> ApiError:
    message = f"This key has {most} questions under way, its share; ask again when one is answered."
    return ApiError(429, message, code="too_many_requests", headers={"retry-after": str(RETRY_AFTER_SECONDS)})
