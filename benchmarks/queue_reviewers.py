"""Simulates reviewers: claims arrive at random, each thinks, then decides, gives back, or lets the lease run out."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

THINK_SECONDS = 2.0  # mean; exponential
LONGEST_THOUGHT = 3.0
DECIDES, GIVES_BACK = 0.80, 0.12  # the rest lets its lease run out


@dataclass(frozen=True, slots=True)
class Held:
    item: str
    token: int
    lease_end: float  # unix seconds, as the reviewer was told


class Desk(Protocol):
    """One way into the product's claims; a reviewer is a number."""

    async def claim(self, reviewer: int) -> Held | None: ...

    async def approve(self, reviewer: int, held: Held) -> bool:
        """False when it was refused as too late."""

    async def give_back(self, reviewer: int, held: Held) -> bool: ...


@dataclass
class Shift:
    """What happened to the reviewers."""

    seconds_to_claim: list[float] = field(default_factory=list)
    seconds_late: list[float] = field(default_factory=list)  # of these, until the claim was made: the generator's own
    granted: list[tuple[int, Held]] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)


async def work(desk: Desk, reviewers: int, rate: float, seconds: float, draw: random.Random) -> Shift:
    """Claims arrive by a Poisson process, `rate` a second; each is made by a reviewer who holds nothing.

    A claim's time runs from its arrival, so that time spent waiting to be sent counts.
    """
    shift, idle, turns = Shift(), deque(range(reviewers)), set[asyncio.Task[None]]()
    begun = monotonic()
    arrival = begun + draw.expovariate(rate)
    while arrival < begun + seconds:
        await asyncio.sleep(max(0.0, arrival - monotonic()))
        if idle:
            turn = asyncio.create_task(_turn(desk, idle, shift, arrival, random.Random(draw.random())))
            turns.add(turn)
            turn.add_done_callback(turns.discard)
        else:
            shift.done["nobody_free"] += 1
        arrival += draw.expovariate(rate)
    for ended in await asyncio.gather(*turns, return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended
    return shift


async def _turn(desk: Desk, idle: deque[int], shift: Shift, arrival: float, draw: random.Random) -> None:
    reviewer = idle.popleft()
    shift.seconds_late.append(monotonic() - arrival)
    try:
        held = await desk.claim(reviewer)
        shift.seconds_to_claim.append(monotonic() - arrival)
        if held is None:
            shift.done["nothing_waits"] += 1
            return
        shift.granted.append((reviewer, held))
        await asyncio.sleep(min(LONGEST_THOUGHT, draw.expovariate(1 / THINK_SECONDS)))
        shift.done[await _end(desk, reviewer, held, draw.random())] += 1
    finally:
        idle.append(reviewer)


async def _end(desk: Desk, reviewer: int, held: Held, chance: float) -> str:
    if chance < DECIDES:
        return "approved" if await desk.approve(reviewer, held) else "refused"
    if chance < DECIDES + GIVES_BACK:
        return "given_back" if await desk.give_back(reviewer, held) else "refused"
    return "left_to_lapse"


def check(reviewers: Sequence[object], rate: float) -> None:
    """Raises ValueError where thinking reviewers could not keep up with the arrivals."""
    if len(reviewers) < 1.2 * rate * THINK_SECONDS:
        raise ValueError(
            f"reviewers: {len(reviewers)} cannot take {rate:g} claims a second; give more, or a lower rate."
        )
