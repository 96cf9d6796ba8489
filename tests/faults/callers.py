"""Callers who ask, try again after every failure, wait for verdicts, and write down all that they are told."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import openai

from launch.ports import LOOPBACK
from tests.faults.history import Acknowledged, Content, History, Missing, Withdrawn
from tests.faults.people import CALLERS
from tests.faults.world import Member, World

MODEL = "countersign-reference"
TRIES = 60
LONGEST_TRY = {"ray": 30.0, "instant": 8.0}  # seconds
PAUSE = 0.25  # seconds between tries
TROUBLE = (aiohttp.ClientError, TimeoutError, OSError, openai.APIConnectionError, json.JSONDecodeError)
AGAIN = frozenset({408, 409, 425, 429, 499, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Wish:
    """One question as a caller means to ask it."""

    number: str
    text: str
    who: str  # which caller's key
    name: str | None  # Idempotency-Key
    stream: bool
    wait: int  # seconds it prefers to wait for a verdict
    tokens: int = 12

    def body(self) -> dict[str, Any]:
        message = {"role": "user", "content": self.text}
        meta = {"question": self.number}
        asked = {"model": MODEL, "messages": [message], "max_tokens": self.tokens, "metadata": meta}
        return {**asked, "stream": True} if self.stream else asked


@dataclass
class Callers:
    world: World
    history: History
    chance: random.Random
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    unexpected: list[str] = field(default_factory=list)  # refusals that nothing explains
    tries: Counter[str] = field(default_factory=Counter)  # by what came of them: a status, or the trouble's name
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    async def ask_until_stopped(self, via: str, pause: float) -> None:
        """One caller: question after question to gateways of one kind."""
        gateways = [gateway for gateway in self.world.gateways if gateway.via == via]
        timeout = aiohttp.ClientTimeout(total=LONGEST_TRY[via])
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while not self.stopping.is_set():
                wish = self.wish(via)
                if self.chance.random() < 0.15:
                    await self.ask_with_openai(wish, self.chance.choice(gateways))
                else:
                    await self.ask(session, wish, gateways)
                await asyncio.sleep(pause * self.chance.random() * 2)

    def wish(self, via: str) -> Wish:
        number = f"q{next(self._numbers)}"
        chance = self.chance
        if via == "ray":
            text = f"What is {chance.randint(1, 9)} + {chance.randint(1, 9)}?"
            text = text if chance.random() < 0.7 else f"Who was the poet laureate in {chance.randint(1500, 1999)}?"
        else:
            text = f"[{chance.choice(('0.97', '0.91', '0.6', '0.4', 'unknown'))}] {number}"
        name = f"name-{number}" if chance.random() < 0.6 else None
        who = chance.choices(CALLERS, (6, 2, 4, 1, 1))[0]
        wait = chance.choice((0, 0, 0, 0, 1))
        return Wish(number, text, who, name, chance.random() < 0.15, wait)

    async def ask(self, session: aiohttp.ClientSession, wish: Wish, gateways: list[Member]) -> None:
        """Tries again, each time perhaps at another gateway, until there is an answer or the caller tires."""
        for attempt in range(TRIES):
            gateway = self.chance.choice(gateways)
            headers = self.headers(wish, attempt)
            try:
                url = f"{url_of(gateway)}/v1/chat/completions"
                async with session.post(url, json=wish.body(), headers=headers) as response:
                    self.tries[str(response.status)] += 1
                    if response.status in (200, 202):
                        answer = await (self.streamed(response) if wish.stream else response.json())
                        self.acknowledge(wish, response.status, answer, gateway)
                        await self.afterwards(session, wish, answer, gateways)
                        return
                    if response.status not in AGAIN:
                        self.unexpected.append(f"{wish.number}: {response.status} {(await response.text())[:300]}")
                        return
            except TROUBLE as trouble:
                self.tries[type(trouble).__name__] += 1
            await asyncio.sleep(PAUSE)

    def headers(self, wish: Wish, attempt: int) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {self.world.secrets[wish.who]}"}
        if wish.name:
            headers["Idempotency-Key"] = wish.name
        else:
            headers["x-stainless-retry-count"] = str(attempt)
        if wish.wait:
            headers["Prefer"] = f"wait={wish.wait}"
        return headers

    async def streamed(self, response: aiohttp.ClientResponse) -> dict[str, Any]:
        """The stream put together as a completion; `cut` when it ended before its end."""
        first: dict[str, Any] = {}
        text: list[str] = []
        done = False
        try:
            async for line in response.content:
                if not line.startswith(b"data: "):
                    continue
                if line.strip() == b"data: [DONE]":
                    done = True
                    break
                chunk = json.loads(line[6:])
                first = first or chunk
                if "review" in chunk or any("review" in choice["delta"] for choice in chunk.get("choices", ())):
                    told = chunk.get("review") or chunk["choices"][0]["delta"].get("review")
                    first = {**first, "review": told or first.get("review")}
                text.extend(choice["delta"].get("content") or "" for choice in chunk.get("choices", ()))
        except TROUBLE:
            if not first:
                raise
        if not first:
            raise aiohttp.ClientPayloadError("nothing came")
        joined = "".join(text)
        choice = {"message": {"content": joined or None}}
        return {"id": first["id"], "review": first["review"], "choices": [choice], "cut": not done}

    def acknowledge(self, wish: Wish, status: int, answer: dict[str, Any], gateway: Member) -> None:
        review = answer["review"]
        self.history.add(
            Acknowledged(
                answer["id"],
                wish.number,
                wish.name,
                status,
                review["action"],
                review["id"],
                review["confidence"],
                gateway.via,
            )
        )
        self.note_content(answer)

    def note_content(self, answer: dict[str, Any]) -> None:
        text = answer["choices"][0]["message"]["content"]
        if text is not None:
            self.history.add(Content(answer["id"], text, not answer.get("cut"), answer["review"]["status"]))

    async def afterwards(
        self, session: aiohttp.ClientSession, wish: Wish, answer: dict[str, Any], gateways: list[Member]
    ) -> None:
        """Looks again, waits for the verdict a while, or takes the question back."""
        whim = self.chance.random()
        if whim < 0.05:
            await self.withdraw(session, wish, answer["id"], self.chance.choice(gateways))
        elif whim < 0.3:
            await self.look(session, wish, answer["id"], gateways, 3 if answer["review"]["status"] == "pending" else 1)

    async def withdraw(self, session: aiohttp.ClientSession, wish: Wish, answer: str, gateway: Member) -> None:
        url = f"{url_of(gateway)}/v1/chat/completions/{answer}"
        try:
            async with session.delete(url, headers=self.headers(wish, 0)) as response:
                if response.status == 200:
                    self.history.add(Withdrawn(answer))
        except TROUBLE:
            return

    async def look(
        self, session: aiohttp.ClientSession, wish: Wish, answer: str, gateways: list[Member], times: int
    ) -> None:
        headers = {**self.headers(wish, 0), "Prefer": "wait=1"}
        headers.pop("Idempotency-Key", None)
        for _ in range(times):
            url = f"{url_of(self.chance.choice(gateways))}/v1/chat/completions/{answer}"
            try:
                async with session.get(url, headers=headers) as response:
                    if response.status in (200, 202):
                        self.note_content(await response.json())
                    elif response.status == 404:
                        self.history.add(Missing(answer))
                    if response.status == 200:
                        return
            except TROUBLE:
                await asyncio.sleep(PAUSE)

    async def ask_with_openai(self, wish: Wish, gateway: Member) -> None:
        """The unmodified client with its own retries, which carry its own count and no key."""
        named = {"Idempotency-Key": wish.name} if wish.name else {}
        secret = self.world.secrets[wish.who]
        body = wish.body() | {"stream": False}
        async with openai.AsyncOpenAI(
            base_url=f"{url_of(gateway)}/v1", api_key=secret, timeout=LONGEST_TRY[gateway.via]
        ) as client:
            client.max_retries = 8
            try:
                answer = await client.chat.completions.create(**body, extra_headers=named)
            except (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError, openai.ConflictError):
                return
            except openai.APIStatusError as error:
                self.unexpected.append(f"{wish.number}: {error.status_code} {error.response.text[:300]}")
                return
        whole = answer.model_dump()
        held = whole["review"]["status"] == "pending" and whole["choices"][0]["message"]["content"] is None
        self.acknowledge(wish, 202 if held else 200, whole, gateway)


def url_of(gateway: Member) -> str:
    """Where callers reach it: through its proxy."""
    if gateway.entrance is None:
        raise RuntimeError(f"{gateway.name} has no entrance.")
    return f"http://{LOOPBACK}:{gateway.entrance.port}"
