"""Asks a gateway at a rate of its own, whatever it answers, and notes what became of each question."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

import aiohttp

MODEL = "countersign-reference"
GIVE_UP_SECONDS = 60.0
_REFUSED = (429, 503)
_HELD_SHARE = 0.1  # of the questions: their answers wait for a reviewer, and 202 acknowledges them


@dataclass(frozen=True, slots=True)
class Sent:
    """One question."""

    seconds: float  # from the moment at which it was due
    status: int  # 0: no answer came
    retry_after: str | None = None
    id: str | None = None  # of what was acknowledged

    @property
    def is_accepted(self) -> bool:
        return self.id is not None

    @property
    def is_refused(self) -> bool:
        return self.status in _REFUSED


class Callers:
    """Several callers of one gateway, each with a key of its own."""

    def __init__(self, http: aiohttp.ClientSession, secrets: Sequence[str], draw: random.Random) -> None:
        self._http, self._secrets, self._draw = http, secrets, draw
        self._asked = 0

    async def flood(self, rate: float, seconds: float) -> list[Sent]:
        """Questions arrive by a Poisson process, `rate` a second, and none waits for another one's answer."""
        asks = list[asyncio.Task[Sent]]()
        begun = monotonic()
        due = begun + self._draw.expovariate(rate)
        while due < begun + seconds:
            await asyncio.sleep(max(0.0, due - monotonic()))
            asks.append(asyncio.create_task(self._ask(due)))
            due += self._draw.expovariate(rate)
        return list(await asyncio.gather(*asks))

    async def at_once(self, count: int, rounds: int) -> float:
        """Answers a second while `count` questions are always under way, each of which begins when another ends."""

        async def one_by_one() -> int:
            return sum([(await self._ask(monotonic())).is_accepted for _ in range(rounds)])

        begun = monotonic()
        return sum(await asyncio.gather(*(one_by_one() for _ in range(count)))) / (monotonic() - begun)

    async def _ask(self, due: float) -> Sent:
        self._asked += 1
        secret = self._secrets[self._asked % len(self._secrets)]
        sure = 0.3 if self._draw.random() < _HELD_SHARE else 0.97
        message = {"role": "user", "content": f"Question {self._asked} [{sure}]"}
        body = {"model": MODEL, "messages": [message]}
        try:
            headers = {"authorization": f"Bearer {secret}"}
            async with self._http.post("/v1/chat/completions", json=body, headers=headers) as answer:
                told = await answer.json()
                seconds = monotonic() - due
                known = told["id"] if answer.status in (200, 202) else None
                return Sent(seconds, answer.status, answer.headers.get("retry-after"), known)
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return Sent(monotonic() - due, 0)
