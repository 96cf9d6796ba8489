"""A prompt that is tokenised by another thread is given up like any other when its caller leaves."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import Any

import pytest

from serving.engine.generation import Generated, GenerationRequest, Message
from serving.replica import _submitted_apart

REQUEST = GenerationRequest("long", (Message("user", "words"),))


class Slow:
    """Its submit lasts until it is let go."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.future: Future[Generated] = Future()

    def submit(self, request: GenerationRequest) -> Future[Generated]:
        self.begun.set()
        assert self.go_on.wait(30)
        return self.future


@pytest.mark.asyncio
async def test_a_caller_who_leaves_meanwhile_leaves_no_generation_behind() -> None:
    engine: Any = Slow()
    asking = asyncio.ensure_future(_submitted_apart(engine, REQUEST))
    await asyncio.to_thread(engine.begun.wait, 30)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    engine.go_on.set()
    left = asyncio.get_running_loop().create_future()
    engine.future.add_done_callback(lambda future: left.get_loop().call_soon_threadsafe(left.set_result, None))
    await asyncio.wait_for(left, 30)
    assert engine.future.cancelled()


@pytest.mark.asyncio
async def test_who_stays_gets_the_generation() -> None:
    engine: Any = Slow()
    engine.go_on.set()
    assert await _submitted_apart(engine, REQUEST) is engine.future
