"""Writes an outcome as server-sent events; nothing here runs before the outcome is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson

from gateway.completion_shapes import finish_reason_of, is_held, logprobs_of, refusal_of, review_of, usage_of
from gateway.errors import ApiError, error_body
from gateway.waiting import is_open
from storage.records import Outcome

CHUNK_CHARACTERS = 48
DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"

Verdict = Callable[[Outcome, float], Awaitable[Outcome | None]]  # waits so many seconds for the reviewer's word


async def stream(
    outcome: Outcome,
    *,
    include_usage: bool,
    verdict: Verdict,
    stopping: Callable[[], bool],
    seconds: float,
    keep_alive: float,
) -> AsyncIterator[bytes]:
    """A released answer in chunks; a held one as role chunk, comments, and what the reviewer made of it."""
    yield chunk(outcome, {"role": "assistant", "content": "", "refusal": None}, review=True, usage=include_usage)
    if is_held(outcome):
        try:
            async for comment, decided in held(outcome, verdict, stopping, seconds, keep_alive):
                outcome = decided
                if comment:
                    yield comment
        except ApiError as error:  # the key has ended, or nobody can tell: the status line is long gone
            yield event(error_body(error.status, error.message, error.code, error.param))
            yield DONE
            return
    for delta, logprobs in deltas(outcome):
        yield chunk(outcome, delta, logprobs=logprobs, usage=include_usage)
    last = {"review": review_of(outcome)}
    yield chunk(outcome, last, finish_reason=finish_reason_of(outcome), usage=include_usage)
    if include_usage:
        yield usage_chunk(outcome)
    yield DONE


async def held(
    outcome: Outcome, verdict: Verdict, stopping: Callable[[], bool], seconds: float, keep_alive: float
) -> AsyncIterator[tuple[bytes, Outcome]]:
    """Pairs of a comment to send and the outcome as known; ends when it is decided, or time or process end."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while is_open(outcome) and not stopping() and (left := deadline - loop.time()) > 0:
        yield KEEP_ALIVE, outcome
        found = await verdict(outcome, min(keep_alive, left))
        if found is None:  # deleted meanwhile: what is known of it says that it is held
            return
        outcome = found
    yield b"", outcome


def deltas(outcome: Outcome) -> list[tuple[dict[str, Any], dict[str, Any] | None]]:
    """The text in pieces, by token where log-probabilities were asked for; or the refusal."""
    text = outcome.released_text
    if text is None:
        return [({"refusal": refusal_of(outcome)}, None)]
    logprobs = logprobs_of(outcome)
    if logprobs is None:
        return [({"content": text[at : at + CHUNK_CHARACTERS]}, None) for at in range(0, len(text), CHUNK_CHARACTERS)]
    if "".join(row["token"] for row in logprobs["content"]) != text:  # pieces of characters: never split the text
        return [({"content": text}, logprobs)]
    return [({"content": row["token"]}, {"content": [row], "refusal": None}) for row in logprobs["content"]]


def chunk(
    outcome: Outcome,
    delta: dict[str, Any],
    *,
    review: bool = False,
    usage: bool = False,
    logprobs: dict[str, Any] | None = None,
    finish_reason: str | None = None,
) -> bytes:
    body = head(outcome)
    body["choices"] = [{"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}]
    if usage:
        body["usage"] = None
    if review:
        body["review"] = review_of(outcome)
    return event(body)


def usage_chunk(outcome: Outcome) -> bytes:
    return event({**head(outcome), "choices": [], "usage": usage_of(outcome)})


def head(outcome: Outcome) -> dict[str, Any]:
    return {
        "id": outcome.interaction.id,
        "object": "chat.completion.chunk",
        "created": int(outcome.interaction.created_at),
        "model": outcome.interaction.model,
        "service_tier": "default",
        "system_fingerprint": outcome.interaction.served_model,
    }


def event(body: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(body) + b"\n\n"
