"""Asks the same greedy questions over and over: serving itself undisturbed, then the gateway while ranks die."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

from serving.answer import answer_from_json

GIVE_UP_SECONDS = 120.0
_MODEL = "countersign-reference"


class RepairFailed(RuntimeError):
    """The benchmark cannot go on; the message says why."""


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """The answer while nothing happens."""

    text: str
    least_margin: float  # between the two best tokens' logprobs, over all tokens


@dataclass(frozen=True, slots=True)
class Asked:
    """What one caller saw of one request."""

    question: int
    status: int  # 0: the connection broke
    seconds: float
    text: str | None = None  # None where it failed, or is held
    review: str | None = None  # where a held text can be read


async def undisturbed(url: str, token: str, questions: Sequence[str], callers: int) -> list[Undisturbed]:
    """Serving's own greedy answers, which name the second best tokens. Raises RepairFailed."""
    turn = asyncio.Semaphore(callers)
    async with _session(url, token) as http:

        async def one(question: str) -> Undisturbed:
            body = {"messages": _messages(question), "temperature": 0.0, "top_logprobs": 2}
            async with turn, http.post("/ask", json=body) as response:
                if response.status != 200:
                    raise RepairFailed(f"Serving answered {response.status} before anything was killed.")
                return undisturbed_of(await response.json())

        return list(await asyncio.gather(*(one(question) for question in questions)))


def undisturbed_of(answer: dict[str, Any]) -> Undisturbed:
    read = answer_from_json(answer)
    margins = [token.top[0][1] - token.top[1][1] for token in read.tokens]
    return Undisturbed(read.text, min(margins, default=0.0))


async def ask_until(over: asyncio.Event, url: str, key: str, questions: Sequence[str], callers: int) -> list[Asked]:
    """Every question in turn, again and again, by so many callers at once; what is under way at the end is finished."""
    turns = itertools.cycle(range(len(questions)))
    asked: list[Asked] = []

    async def call(http: aiohttp.ClientSession) -> None:
        while not over.is_set():
            question = next(turns)
            asked.append(await _ask(http, question, questions[question]))

    async with _session(url, key) as http:
        await asyncio.gather(*(call(http) for _ in range(callers)))
    return asked


async def read_held(url: str, reviewer_key: str, asked: Sequence[Asked]) -> list[Asked]:
    """With the held texts as their reviewer sees them. Raises RepairFailed."""
    async with _session(url, reviewer_key) as http:
        return [await _read(http, one) if one.review else one for one in asked]


async def _ask(http: aiohttp.ClientSession, number: int, question: str) -> Asked:
    """Once: what the gateway does not mend has failed."""
    body = {"model": _MODEL, "messages": _messages(question), "temperature": 0}
    began = time.monotonic()
    try:
        async with http.post("/v1/chat/completions", json=body) as response:
            answer = await response.json()
    except (aiohttp.ClientError, TimeoutError):
        return Asked(number, 0, time.monotonic() - began)
    seconds = time.monotonic() - began
    if response.status not in (200, 202):
        return Asked(number, response.status, seconds)
    review = (answer.get("review") or {}).get("id")
    return Asked(number, response.status, seconds, answer["choices"][0]["message"]["content"], review)


async def _read(http: aiohttp.ClientSession, asked: Asked) -> Asked:
    async with http.get(f"/v1/reviews/{asked.review}") as response:
        if response.status != 200:
            raise RepairFailed(f"The review {asked.review} cannot be read: {response.status}.")
        return replace(asked, text=(await response.json())["answer"]["text"])


def _session(url: str, key: str) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        url,
        headers={"Authorization": f"Bearer {key}"},
        timeout=aiohttp.ClientTimeout(total=GIVE_UP_SECONDS),
        connector=aiohttp.TCPConnector(limit=0),
    )


def _messages(question: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}]
