"""Another tenant's key tries every door with ids that are not its own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.faults.callers import TROUBLE, url_of
from tests.faults.history import Acknowledged, History, Probed
from tests.faults.people import STRANGER
from tests.faults.world import World

Door = tuple[str, str, dict[str, Any] | None]  # method, path, body


def doors(interaction: str, item: str | None) -> Iterator[Door]:
    """Each of which must answer 404."""
    yield "GET", f"/v1/chat/completions/{interaction}", None
    yield "GET", f"/v1/chat/completions/{interaction}/messages", None
    yield "DELETE", f"/v1/chat/completions/{interaction}", None
    if item is not None:
        token = {"fencing_token": 1}
        yield "GET", f"/v1/reviews/{item}", None
        yield "POST", f"/v1/reviews/{item}/claim", {}
        yield "POST", f"/v1/reviews/{item}/verdict", {**token, "verdict": "approve", "reason": "", "content": None}
        yield "PUT", f"/v1/reviews/{item}/draft", {**token, "text": "mine", "note": ""}
        yield "POST", f"/v1/reviews/{item}/extend", token
        yield "POST", f"/v1/reviews/{item}/release", token


def lists(interaction: str) -> Iterator[str]:
    """Each of which may answer, without a foreign id in it."""
    yield "/v1/chat/completions?limit=100&order=desc"
    yield "/v1/reviews?state=pending,claimed,approved,edited,rejected,expired&limit=100"
    yield f"/v1/audit/events?interaction_id={interaction}"
    yield "/v1/audit/events?limit=100"


@dataclass
class Stranger:
    world: World
    history: History
    chance: random.Random
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def probe_until_stopped(self, pause: float) -> None:
        headers = {"Authorization": f"Bearer {self.world.secrets[STRANGER]}"}
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10), headers=headers) as session:
            while not self.stopping.is_set():
                known = self.history.of(Acknowledged)
                if known:
                    _, fact = self.chance.choice(known[-200:])
                    if isinstance(fact, Acknowledged):
                        await self.try_one(session, fact)
                await asyncio.sleep(pause)

    async def try_one(self, session: aiohttp.ClientSession, known: Acknowledged) -> None:
        choices = [*doors(known.interaction, known.item), *(("LIST", path, None) for path in lists(known.interaction))]
        method, path, body = self.chance.choice(choices)
        listing = method == "LIST"
        url = f"{url_of(self.chance.choice(self.world.gateways))}{path}"
        try:
            async with session.request("GET" if listing else method, url, json=body) as response:
                text = await response.text()
        except TROUBLE:
            return
        ids = [one for one in (known.interaction, known.item) if one]
        seen = listing and any(one in text for one in ids)
        self.history.add(Probed("LIST " + path if listing else f"{method} {path}", response.status, seen))
