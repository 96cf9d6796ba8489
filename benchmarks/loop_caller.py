"""Asks the gateway questions as a caller, and learns afterwards what was decided and what was held."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

AT_ONCE = 16  # asks under way at a time
ATTEMPTS = 6  # per ask, when the gateway says to come back later
_BUSY = (429, 503)
_PAGE = 200  # audit events at a time
_MODEL = "countersign-reference"


class LoopFailed(RuntimeError):
    """The benchmark cannot go on; the message says why."""


@dataclass(frozen=True)
class Outcome:
    """One question asked: what came back at once, and what the audit log says of it."""

    completion_id: str
    review_id: str | None
    text: str | None  # None while nobody but a reviewer may read it
    seconds: float
    action: str | None = None
    reason: str | None = None
    confidence: float | None = None


async def ask_all(
    url: str, key: str, reviewer_key: str, questions: Sequence[str], told: Callable[[], None]
) -> list[Outcome]:
    """Ask every question, read the decisions from the audit API and held texts from the review API, in order.

    `key` asks and audits; `reviewer_key` is another one. `told` is called once for each question answered. Raises
    LoopFailed.
    """
    async with _session(url, key) as http, _session(url, reviewer_key) as desk:
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(question: str) -> Outcome:
            async with turn:
                outcome = await _ask(http, question)
            told()
            return outcome

        asked = await _together([one(question) for question in questions])
        decided = await decisions(http, {outcome.completion_id for outcome in asked})
        with_decisions = [_decided(outcome, decided) for outcome in asked]
        return await _together([_read_held(desk, turn, outcome) for outcome in with_decisions])


def _session(url: str, key: str) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        url,
        headers={"Authorization": f"Bearer {key}"},
        timeout=aiohttp.ClientTimeout(total=120),
        connector=aiohttp.TCPConnector(limit=AT_ONCE),
    )


async def decisions(http: aiohttp.ClientSession, wanted: set[str]) -> dict[str, dict[str, Any]]:
    """The data of each wanted interaction's `decision` event, newest pages first."""
    found: dict[str, dict[str, Any]] = {}
    query = {"kinds": "decision", "limit": str(_PAGE)}
    while True:
        page = await _get(http, "/v1/audit/events", query)
        found.update({e["interaction_id"]: e["data"] for e in page["data"] if e["interaction_id"] in wanted})
        if len(found) == len(wanted):
            return found
        if not page["has_more"]:
            raise LoopFailed(f"The audit log knows a decision for {len(found)} of {len(wanted)} answers.")
        query["after"] = page["next"]


async def _ask(http: aiohttp.ClientSession, question: str) -> Outcome:
    body = {"model": _MODEL, "messages": [{"role": "user", "content": question}]}
    clock = asyncio.get_running_loop().time
    for attempt in range(ATTEMPTS):
        begun = clock()
        async with http.post("/v1/chat/completions", json=body) as response:
            answer = await response.json()
            if response.status in (200, 202):
                return _outcome(answer, clock() - begun)
            if response.status not in _BUSY or attempt == ATTEMPTS - 1:
                raise LoopFailed(f"The gateway answered {response.status}: {answer.get('error', {}).get('message')}")
            later = float(response.headers.get("Retry-After", 1))
        await asyncio.sleep(later)  # as the gateway asked
    raise LoopFailed("The gateway stayed busy.")


def _outcome(answer: dict[str, Any], seconds: float) -> Outcome:
    review = answer.get("review") or {}
    return Outcome(answer["id"], review.get("id"), answer["choices"][0]["message"]["content"], seconds)


def _decided(outcome: Outcome, decided: dict[str, dict[str, Any]]) -> Outcome:
    data = decided[outcome.completion_id]
    return replace(outcome, action=data["action"], reason=data["reason"], confidence=data["confidence"])


async def _read_held(http: aiohttp.ClientSession, turn: asyncio.Semaphore, outcome: Outcome) -> Outcome:
    """A held text is read as its reviewer would see it."""
    if outcome.text is not None:
        return outcome
    if outcome.review_id is None:
        raise LoopFailed(f"{outcome.completion_id} has neither a text nor a review.")
    async with turn:
        detail = await _get(http, f"/v1/reviews/{outcome.review_id}", {})
    if detail["answer"]["text"] is None:
        raise LoopFailed(f"{outcome.review_id} of {outcome.completion_id} shows no text to the reviewer's key.")
    return replace(outcome, text=detail["answer"]["text"])


async def _get(http: aiohttp.ClientSession, path: str, query: dict[str, str]) -> dict[str, Any]:
    async with http.get(path, params=query) as response:
        answer: dict[str, Any] = await response.json()
        if response.status != 200:
            raise LoopFailed(f"GET {path} answered {response.status}: {answer.get('error', {}).get('message')}")
        return answer


async def _together(asks: Sequence[Any]) -> list[Outcome]:
    """All of them, or the first failure with the others cancelled."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask) for ask in asks]
    except* (LoopFailed, aiohttp.ClientError, TimeoutError) as failures:
        first = failures.exceptions[0]
        raise LoopFailed(str(first) or type(first).__name__) from first
    return [task.result() for task in tasks]
