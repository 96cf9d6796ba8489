"""Wakes those who wait for a verdict: a bell inside this process, and a look into the database for all others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from storage.records import OPEN_STATES, Outcome

Look = Callable[[], Awaitable[Outcome | None]]


class Bell:
    """Rings by interaction id. Only a hint: whoever wakes reads the database."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def ring(self, interaction_id: str) -> None:
        """Wakes all who wait for this interaction; to be called on the event loop."""
        for event in self._waiting.get(interaction_id, ()):
            event.set()

    async def wait(self, interaction_id: str, seconds: float) -> None:
        """Returns when the bell rings or after `seconds`."""
        event = asyncio.Event()
        self._waiting.setdefault(interaction_id, set()).add(event)
        try:
            await asyncio.wait_for(event.wait(), seconds)
        except TimeoutError:
            pass
        finally:
            self._waiting[interaction_id].discard(event)
            if not self._waiting[interaction_id]:
                del self._waiting[interaction_id]


def is_open(outcome: Outcome) -> bool:
    """Whether a reviewer's word on a held answer is still to come."""
    return outcome.item is not None and outcome.item.state in OPEN_STATES and outcome.released_text is None


async def until_decided(
    bell: Bell, outcome: Outcome, look: Look, seconds: float, poll_seconds: float
) -> Outcome | None:
    """The outcome once decided, or as it stands after `seconds`; None when it was deleted meanwhile."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    found: Outcome | None = outcome
    while found is not None and is_open(found) and (left := deadline - loop.time()) > 0:
        await bell.wait(outcome.interaction.id, min(left, poll_seconds))
        found = await look()
    return found
