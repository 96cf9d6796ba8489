"""Strikes by the schedule, and tells faults that hit something from those that found nothing to hit."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from tests.faults.report import Report
from tests.faults.schedule import Fault
from tests.faults.world import World

Target = TypeVar("Target")
Act = Callable[[World, Fault], Awaitable[str]]  # returns what was hit, raises Missed
TRIES = 2  # how often a fault looks for something to hit; more would wear down a part that is only just starting
AGAIN_SECONDS = 0.5


class Missed(Exception):
    """Nothing was hit: there was no connection, no process, no database to hit."""


class OutsideSteps(Exception):
    """A part that was to die at a durable step came to none, and was killed where it was."""


def aimed(fault: Fault, targets: Sequence[Target]) -> Target:
    """Raises Missed where there are none."""
    if not targets:
        raise Missed("there was nothing to aim at")
    return targets[int(fault.aim * len(targets))]


async def strike_all(world: World, faults: Sequence[Fault], report: Report, acts: Mapping[str, Act], log: Path) -> None:
    """Each fault at its moment, several at once where their times overlap; returns when the last one is over."""
    began = time.monotonic()
    with log.open("a", encoding="utf-8", buffering=1) as lines:

        async def at_its_moment(fault: Fault) -> None:
            await asyncio.sleep(max(0.0, began + fault.at - time.monotonic()))
            at = time.monotonic() - began
            hit = await strike(world, fault, report, acts[fault.kind])
            took = time.monotonic() - began - at
            told = {"step": fault.step, "planned": round(fault.at, 3), "at": round(at, 3), "kind": fault.kind}
            print(json.dumps({**told, "hit": hit, "seconds": round(took, 3)}), file=lines)

        await asyncio.gather(*(at_its_moment(fault) for fault in faults))


async def strike(world: World, fault: Fault, report: Report, act: Act) -> str:
    """Enters into the report what came of it, and says it."""
    try:
        hit = await hitting(world, fault, act)
    except OutsideSteps as outside:
        report.outside_steps.append((fault, str(outside)))
        return f"{outside}, outside any durable step"
    except Missed as missed:
        report.missed.append((fault, str(missed)))
        return f"missed: {missed}"
    except Exception as error:
        report.failed.append((fault, repr(error)))
        return f"not done: {error!r}"
    report.struck.append((fault, hit))
    return hit


async def hitting(world: World, fault: Fault, act: Act) -> str:
    """What was hit, at once or when it is tried again shortly after. Raises Missed."""
    for _ in range(TRIES - 1):
        try:
            return await act(world, fault)
        except Missed:
            await asyncio.sleep(AGAIN_SECONDS)
    return await act(world, fault)
