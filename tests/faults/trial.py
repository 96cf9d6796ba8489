"""One trial: load the world, strike it by the schedule, let it come to rest, check everything."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from storage.database import Database, open_database
from storage.errors import DatabaseUnreachable
from tests.faults import log_check, snapshot
from tests.faults.callers import Callers
from tests.faults.checker import check
from tests.faults.history import into
from tests.faults.injuries import ACTS
from tests.faults.people import REVIEWERS
from tests.faults.processes import until
from tests.faults.report import Report
from tests.faults.reviewers import Reviewers
from tests.faults.schedule import Fault
from tests.faults.snapshot import Snapshot
from tests.faults.strangers import Stranger
from tests.faults.striking import Act, strike_all
from tests.faults.world import World

REST_SECONDS = 45.0  # a bound for everything to come back to rest, not an expectation


@dataclass(frozen=True)
class Load:
    """How many take part, and how fast: `pause` and `think` in seconds, on the average."""

    instant_callers: int = 8
    ray_callers: int = 0
    reviewers: int = 6
    pause: float = 0.15
    think: float = 0.1


async def run(
    world: World, faults: Sequence[Fault], seconds: float, seed: int, load: Load, more: Mapping[str, Act]
) -> Report:
    """The world must be started. `more`: acts of kinds that the world alone does not know. Raises TimeoutError."""
    report = Report(seed, history=into(world.wanted.home / "history.jsonl"))
    began = time.monotonic()
    callers = Callers(world, report.history, random.Random(seed + 1))
    reviewers = Reviewers(world, report.history, random.Random(seed + 2))
    stranger = Stranger(world, report.history, random.Random(seed + 3))
    working = [
        *(asyncio.create_task(callers.ask_until_stopped("instant", load.pause)) for _ in range(load.instant_callers)),
        *(asyncio.create_task(callers.ask_until_stopped("ray", load.pause)) for _ in range(load.ray_callers)),
        *(
            asyncio.create_task(reviewers.review_until_stopped(name, load.think))
            for name in REVIEWERS[: load.reviewers]
        ),
        asyncio.create_task(stranger.probe_until_stopped(0.2)),
    ]
    await strike_all(world, faults, report, {**ACTS, **more}, world.wanted.home / "faults.jsonl")
    await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))
    for one in (callers, reviewers, stranger):
        one.stopping.set()
    ended = await asyncio.gather(*working, return_exceptions=True)
    report.unexpected = [*callers.unexpected, *reviewers.unexpected, *(repr(e) for e in ended if e is not None)]
    report.tries = callers.tries
    await settle(world, report)
    report.unexpected_deaths = {
        name: part.unexpected_deaths for name, part in world.keeper.parts.items() if part.unexpected_deaths
    }
    report.seconds = time.monotonic() - began
    return report


async def ready(world: World) -> None:
    """Raises TimeoutError."""
    await until(world.all_ready, REST_SECONDS, "all gateways are ready again")


async def settle(world: World, report: Report) -> None:
    """Everything is up again and at rest: check, let the open items end, and check again."""
    await ready(world)
    database = open_database(world.database_url)
    try:
        found = await at_rest(world, database)
        report.violations = check(report.history, found)
        await finish_reviews(world, report, database)
        last = await asyncio.to_thread(snapshot.take, database)
        known = {(one.invariant, one.what, one.ids) for one in report.violations}
        later = check(report.history, last)
        report.violations += [one for one in later if (one.invariant, one.what, one.ids) not in known]
        report.log_trouble = await log_check.verified(world)
        report.left_open = sum(row["state"] in ("pending", "claimed", "referred") for row in last.items)
    finally:
        database.close()


async def at_rest(world: World, database: Database) -> Snapshot:
    """A snapshot in which Valkey and SQL agree, or the last one before patience ended."""
    deadline = time.monotonic() + REST_SECONDS
    while True:
        before = await world.waiting_ids()
        try:
            found = await asyncio.to_thread(snapshot.take, database)
        except DatabaseUnreachable:
            await asyncio.sleep(0.2)
            continue
        found.waiting = before if before == await world.waiting_ids() else None
        pending = {row["id"] for row in found.items if row["state"] == "pending"}
        claimed = any(row["state"] == "claimed" for row in found.items)
        if (found.waiting == pending and not claimed) or time.monotonic() > deadline:
            found.waiting = found.waiting or set()
            return found
        await asyncio.sleep(0.3)


async def finish_reviews(world: World, report: Report, database: Database) -> None:
    """Orderly reviewers decide what is left; what they may not decide runs out by itself."""
    reviewers = Reviewers(world, report.history, random.Random(report.seed + 4))
    working = [asyncio.create_task(reviewers.review_until_stopped(name, 0.0, orderly=True)) for name in REVIEWERS]

    async def none_open() -> bool:
        found = await asyncio.to_thread(snapshot.take, database)
        return not any(row["state"] in ("pending", "claimed", "referred") for row in found.items)

    try:
        await until(none_open, 130.0, "all items end", 1.0)
    except TimeoutError:
        pass  # counted as left open
    finally:
        reviewers.stopping.set()
        await asyncio.gather(*working, return_exceptions=True)
        report.unexpected += reviewers.unexpected
