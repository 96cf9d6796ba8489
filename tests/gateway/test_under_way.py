"""A retry that comes in the instant in which its first attempt is given up is asked anew, and never told of it."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import Request
from starlette.types import Message

from gateway.errors import ApiError
from gateway.under_way import Answered, UnderWay

MARK = ("key_1", "hash")


def request_until(leaves: asyncio.Event, waits: asyncio.Event | None = None) -> Request:
    """Of a caller who stays until then; `waits` is set once the answer is waited for."""

    async def receive() -> Message:
        if waits is not None:
            waits.set()
        await leaves.wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http", "headers": []}, receive)


async def test_retry_in_the_instant_of_giving_up_finds_nothing_under_way() -> None:
    under_way, leaves, given_up, ends = UnderWay(), asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def ask() -> Answered:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            given_up.set()
            await ends.wait()  # as when an idempotency hold is given back
            raise
        raise AssertionError

    first = asyncio.create_task(under_way.run(request_until(leaves), MARK, ask))
    await asyncio.sleep(0)
    leaves.set()
    await given_up.wait()
    retry = asyncio.create_task(under_way.joined(request_until(asyncio.Event()), MARK))
    await asyncio.sleep(0)
    ends.set()
    assert await retry is None
    with pytest.raises(ApiError) as gone:
        await first
    assert gone.value.status == 499


async def test_attempt_that_is_cancelled_while_a_retry_waits_is_none_to_join() -> None:
    under_way, stays, waits = UnderWay(), asyncio.Event(), asyncio.Event()
    asked = list[asyncio.Task[Answered] | None]()

    async def ask() -> Answered:
        asked.append(asyncio.current_task())
        await asyncio.Event().wait()
        raise AssertionError

    first = asyncio.create_task(under_way.run(request_until(stays), MARK, ask))
    await asyncio.sleep(0)
    retry = asyncio.create_task(under_way.joined(request_until(stays, waits), MARK))
    await waits.wait()
    (task,) = asked
    assert task is not None
    task.cancel()
    assert await retry is None
    with pytest.raises(ApiError) as told:
        await first
    assert (told.value.status, told.value.code) == (503, "given_up")


async def test_attempt_of_a_caller_who_stays_is_joined() -> None:
    under_way, stays, answered = UnderWay(), asyncio.Event(), asyncio.Event()
    outcome = object()

    async def ask() -> Answered:
        await answered.wait()
        return Answered(outcome, again=False)  # type: ignore[arg-type]

    first = asyncio.create_task(under_way.run(request_until(stays), MARK, ask))
    await asyncio.sleep(0)
    retry = asyncio.create_task(under_way.joined(request_until(stays), MARK))
    await asyncio.sleep(0)
    answered.set()
    assert (await first).again is False
    joined = await retry
    assert joined is not None
    assert (joined.outcome, joined.again) == (outcome, True)
