"""Holds the questions that this process is asking: a retry waits for its first attempt in place of asking again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.requests import Request

from gateway.errors import ApiError, unavailable
from storage.records import Outcome

GONE = "caller_gone"
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Answered:
    """What a request got, and whether an earlier attempt had got it already."""

    outcome: Outcome
    again: bool


@dataclass(slots=True)
class Asking:
    """One question, and how many callers wait for it; it is cancelled when nobody does any more."""

    task: asyncio.Task[Answered]
    callers: int = field(default=0)


class UnderWay:
    """No larger than the places for questions under way: each entry has one."""

    def __init__(self) -> None:
        self._asking: dict[Hashable, Asking] = {}

    async def run(self, request: Request, mark: Hashable | None, ask: Callable[[], Awaitable[Answered]]) -> Answered:
        """What `ask` returns. Retries find it by `mark`. Raises ApiError 499 when the caller goes away before."""
        asking = Asking(asyncio.ensure_future(ask()))
        if mark is not None and mark not in self._asking:
            self._asking[mark] = asking
            asking.task.add_done_callback(lambda _: self._asking.pop(mark, None))
        return await answered(request, asking)

    async def joined(self, request: Request, mark: Hashable) -> Answered | None:
        """What the attempt under way gets; None when there is none, or it fails. Raises ApiError 499 as `run` does."""
        asking = self._asking.get(mark)
        if asking is None or asking.task.cancelling():  # its last caller has just left
            return None
        try:
            return Answered((await answered(request, asking)).outcome, again=True)
        except ApiError as error:
            if error.code == GONE:
                raise
            return None


async def answered(request: Request, asking: Asking) -> Answered:
    gone = asyncio.ensure_future(until_gone(request))
    asking.callers += 1
    try:
        await asyncio.wait({asking.task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not asking.task.done():
            raise caller_gone()
        if asking.task.cancelled():
            raise unavailable("The question was given up before its answer; ask again.", "given_up", 1)
        return asking.task.result()
    finally:
        asking.callers -= 1
        gone.cancel()
        ended = [gone]
        if not asking.callers and not asking.task.done():
            asking.task.cancel()
            ended.append(asking.task)  # type: ignore[arg-type]
        await asyncio.gather(*ended, return_exceptions=True)


async def unless_gone(request: Request, waiting: Coroutine[Any, Any, Result]) -> Result:
    """What `waiting` returns; raises ApiError 499, and ends it, when the caller goes away before."""
    task, gone = asyncio.ensure_future(waiting), asyncio.ensure_future(until_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if gone.done():  # also when both are: nobody is left who could be shown it
            raise caller_gone()
        return task.result()
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


def caller_gone() -> ApiError:
    return ApiError(499, "The caller went away before the answer.", code=GONE)


async def until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
