"""Reviewers who claim and decide, and now and then do what goes wrong: twice at once, too late, or not at all."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.faults.callers import PAUSE, TROUBLE, url_of
from tests.faults.history import Accepted, Granted, History
from tests.faults.world import CLAIM_SECONDS, World

ENDS = frozenset({"approved", "edited", "rejected"})
INSISTS = 12  # times that a late verdict is sent: others hold the item for a moment only
HABITS = {  # what a reviewer does with a claim, and how often
    "decides": 56,
    "decides twice at once": 9,
    "decides too late": 19,
    "says nothing": 4,
    "writes a draft and decides": 5,
    "extends and decides": 4,
    "puts it back": 3,
}
VERDICTS = {"approve": 50, "edit": 20, "reject": 24, "refer": 6}
ORDERLY = {"approve": 40, "reject": 60}  # one person's word is enough to reject, whatever the policy


@dataclass
class Reviewers:
    world: World
    history: History
    chance: random.Random
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    unexpected: list[str] = field(default_factory=list)

    async def review_until_stopped(self, name: str, think: float, *, orderly: bool = False) -> None:
        """`think`: seconds, on the average. An orderly reviewer only decides."""
        headers = {"Authorization": f"Bearer {self.world.secrets[name]}"}
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=12), headers=headers) as session:
            while not self.stopping.is_set():
                item = await self.claimed(session, name)
                if item is None:
                    await asyncio.sleep(PAUSE)
                    continue
                await asyncio.sleep(think * self.chance.random() * 2)
                habit = "decides" if orderly else self.chance.choices(list(HABITS), list(HABITS.values()))[0]
                await self.follow(session, name, item, habit, orderly=orderly)

    async def claimed(self, session: aiohttp.ClientSession, name: str) -> dict[str, Any] | None:
        status, item = await self.post(session, "/v1/reviews/claim", {})
        if status != 200 or item.get("claim") is None:
            return None
        self.history.add(Granted(item["id"], item["claim"]["fencing_token"], self.world.ids[name]))
        return item

    async def follow(
        self, session: aiohttp.ClientSession, name: str, item: dict[str, Any], habit: str, *, orderly: bool
    ) -> None:
        if habit == "says nothing":
            return
        if habit == "puts it back":
            await self.write(session, name, item, "release", {})
            return
        if habit == "decides twice at once":
            first, second = self.chance.sample(["approve", "edit", "reject"], 2)
            await asyncio.gather(self.decide(session, name, item, first), self.decide(session, name, item, second))
            return
        if habit == "decides too late":
            await asyncio.sleep(CLAIM_SECONDS + 0.2 + 2.5 * self.chance.random())
            await self.insist(session, name, item)
            return
        if habit == "writes a draft and decides":
            await self.write(session, name, item, "draft", {"text": "so far", "note": "n"}, put=True)
        if habit == "extends and decides":
            await self.write(session, name, item, "extend", {})
        kinds = ORDERLY if orderly else VERDICTS
        await self.decide(session, name, item, self.chance.choices(list(kinds), list(kinds.values()))[0])

    async def insist(self, session: aiohttp.ClientSession, name: str, item: dict[str, Any]) -> None:
        """The same verdict again and again, so that some of them come while somebody else has the item."""
        kind = self.chance.choices(list(VERDICTS), list(VERDICTS.values()))[0]
        for _ in range(INSISTS):
            if self.stopping.is_set() or await self.decide(session, name, item, kind):
                return
            await asyncio.sleep(PAUSE / 2)

    async def decide(self, session: aiohttp.ClientSession, name: str, item: dict[str, Any], kind: str) -> bool:
        """Whether it was taken. A verdict whose reply is lost is sent once more, as a person would."""
        text = f"Corrected by {name} under {item['claim']['fencing_token']}." if kind == "edit" else None
        body = {"verdict": kind, "reason": "" if kind == "approve" else "because", "content": text}
        for _ in range(2):
            status = await self.write(session, name, item, "verdict", body, what=kind)
            if status is not None:
                return status == 200
            await asyncio.sleep(PAUSE)
        return False

    async def write(
        self,
        session: aiohttp.ClientSession,
        name: str,
        item: dict[str, Any],
        path: str,
        body: dict[str, Any],
        *,
        what: str = "",
        put: bool = False,
    ) -> int | None:
        """The status; None when no answer came."""
        token = item["claim"]["fencing_token"]
        sent_at = time.monotonic()
        told = {"fencing_token": token, **body}
        status, after = await self.post(session, f"/v1/reviews/{item['id']}/{path}", told, put=put)
        if status in (200, 204):
            final = after.get("state") in ENDS and path == "verdict"
            reviewer = self.world.ids[name]
            self.history.add(Accepted(item["id"], token, reviewer, what or path, sent_at, final))
        elif status and status not in (404, 409, 429, 503) and status < 500:
            self.unexpected.append(f"{path} of {item['id']}: {status} {after}")
        return status

    async def post(
        self, session: aiohttp.ClientSession, path: str, body: dict[str, Any], *, put: bool = False
    ) -> tuple[int | None, dict[str, Any]]:
        """Status and body; (None, {}) when no answer came."""
        url = f"{url_of(self.chance.choice(self.world.gateways))}{path}"
        try:
            async with session.request("PUT" if put else "POST", url, json=body) as response:
                if response.status == 204:
                    return 204, {}
                return response.status, dict(await response.json(content_type=None))
        except (*TROUBLE, TypeError, ValueError):
            return None, {}
