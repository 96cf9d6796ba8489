"""Lives one question from the asking to the verdict's text, and cuts life after life short at each durable step."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.faults import process_injuries, trial
from tests.faults.callers import PAUSE, Callers, Wish
from tests.faults.history import into
from tests.faults.people import REVIEWERS
from tests.faults.report import Report
from tests.faults.reviewers import Reviewers
from tests.faults.world import Member, World

LIFE_SECONDS = 60.0  # a bound for one life with a death in it, not an expectation
QUIET_LIVES = 2  # in a row without a death: the worker inside takes steps of its own, now more of them, now fewer
LAST_STEP = 500  # a life that still dies here never ends


@dataclass
class Asker(Callers):
    """A caller who takes nothing back, and keeps the answer to look at it again."""

    answers: dict[str, dict[str, Any]] = field(default_factory=dict)  # by the question's number

    async def afterwards(self, _: aiohttp.ClientSession, wish: Wish, answer: dict[str, Any], __: list[Member]) -> None:
        self.answers[wish.number] = answer

    async def read(self, session: aiohttp.ClientSession, wish: Wish, gateways: list[Member]) -> bool:
        """Whether the verdict's text has come."""
        before = len(self.history.facts)
        await self.look(session, wish, self.answers[wish.number]["id"], gateways, 1)
        return len(self.history.facts) > before and bool(getattr(self.history.facts[-1][1], "complete", False))


async def live(world: World, asker: Asker, reviewers: Reviewers, number: int) -> None:
    """Ask, be held, be claimed, be approved, be retrieved; each tried again for as long as nobody answers."""
    wish = Wish(f"life-{number}", f"[0.4] life-{number}", "holding", f"name-{number}", False, 0)
    name = REVIEWERS[number % len(REVIEWERS)]
    headers = {"Authorization": f"Bearer {world.secrets[name]}"}
    timeout = aiohttp.ClientTimeout(total=8)
    async with (
        aiohttp.ClientSession(timeout=timeout) as calling,
        aiohttp.ClientSession(timeout=timeout, headers=headers) as reviewing,
    ):
        while wish.number not in asker.answers:
            await asker.ask(calling, wish, world.gateways)
        while not await asker.read(calling, wish, world.gateways):
            item = await reviewers.claimed(reviewing, name)
            if item is None:
                await asyncio.sleep(PAUSE)
            else:
                await reviewers.decide(reviewing, name, item, "approve")


async def put_off(member: Member) -> None:
    """A process that still counts is ended, so that the next one counts from the beginning."""
    member.disarm()
    await process_injuries.kill(member.part)


async def cut_short(world: World, seed: int, every: int = 1) -> Report:
    """Life after life, the gateway killed at durable step 1, 1 + `every`, … until two go by without a death; then
    everything is checked. The world must be started, with one gateway. Raises TimeoutError."""
    report = Report(seed, history=into(world.wanted.home / "history.jsonl"))
    began, chance = time.monotonic(), random.Random(seed)
    asker, reviewers = Asker(world, report.history, chance), Reviewers(world, report.history, chance)
    (member,) = world.gateways
    quiet = 0
    for number in range(1, LAST_STEP, every):
        await trial.ready(world)
        member.arm(number)
        try:
            await asyncio.wait_for(live(world, asker, reviewers, number), LIFE_SECONDS)
        except TimeoutError:
            report.unfinished_lives.append(f"step {number}")
            continue
        if await member.has_died():
            quiet = 0
            report.crash_points.append(member.died_at())
            continue
        quiet += 1
        await put_off(member)
        if quiet == QUIET_LIVES:
            break
    report.unexpected, report.tries = [*asker.unexpected, *reviewers.unexpected], asker.tries
    await trial.settle(world, report)
    report.seconds = time.monotonic() - began
    return report
