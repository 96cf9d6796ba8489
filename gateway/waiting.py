"""Wakes those who wait for a verdict: a bell inside this process, and a look into the database for all others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import structlog

from gateway.recorder import Recorder
from storage import review_reads
from storage.records import OPEN_STATES, Outcome, Vouched

OWN_LOOK_SECONDS = 5.0  # of who waits: the look for all finds verdicts, and not that records were altered meanwhile
Look = Callable[[], Awaitable[Outcome | None]]
log = structlog.get_logger("waiting")


class Bell:
    """Rings by interaction id. Only a hint: whoever wakes reads the database."""

    def __init__(self) -> None:
        self.closed = False
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def close(self) -> None:
        """Ends all waiting, now and later: the process stops; to be called on the event loop."""
        self.closed = True
        for interaction_id in list(self._waiting):
            self.ring(interaction_id)

    def ring(self, interaction_id: str) -> None:
        """Wakes all who wait for this interaction; to be called on the event loop."""
        for event in self._waiting.get(interaction_id, ()):
            event.set()

    def awaited(self) -> list[str]:
        """The interactions that somebody waits for."""
        return list(self._waiting)

    @contextmanager
    def heard(self, interaction_id: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever the bell rings for this interaction inside the block."""
        event = asyncio.Event()
        self._waiting.setdefault(interaction_id, set()).add(event)
        try:
            yield event
        finally:
            self._waiting[interaction_id].discard(event)
            if not self._waiting[interaction_id]:
                del self._waiting[interaction_id]


def is_open(outcome: Outcome) -> bool:
    """Whether a reviewer's word on a held answer is still to come, or an operator's on records of an earlier version.

    Nobody can give one on records that were not written here.
    """
    if outcome.vouched is Vouched.BEFORE:
        return True
    withheld = outcome.released_text is None and not outcome.content_changed
    can_be_decided = outcome.vouched is Vouched.OURS and withheld
    return outcome.item is not None and outcome.item.state in OPEN_STATES and can_be_decided


async def look_out(bell: Bell, recorder: Recorder, seconds: float) -> None:
    """Rings for what other processes decided, until it is cancelled: one look for all who wait, not one for each."""
    while True:
        await asyncio.sleep(seconds)
        if not (awaited := bell.awaited()):
            continue
        try:
            for interaction_id in await recorder.read(
                partial(review_reads.ended_among, interaction_ids=awaited), always=True
            ):
                bell.ring(interaction_id)
        except Exception as error:  # the database is away, or what nobody foresaw: they wait on
            log.warning("no look at the verdicts that callers wait for", error=type(error).__name__)


async def until_decided(bell: Bell, interaction_id: str, look: Look, seconds: float) -> Outcome | None:
    """The outcome once decided, or as it stands after `seconds` or at the bell's end; None when it was deleted."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    with bell.heard(interaction_id) as rung:  # listen before looking: a verdict between the two is not missed
        found = await look()
        while found is not None and is_open(found) and not bell.closed and (left := deadline - loop.time()) > 0:
            await ring_or_pause(rung, min(left, OWN_LOOK_SECONDS))
            found = await look()
    return found


async def ring_or_pause(rung: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(rung.wait(), seconds)
    rung.clear()
