"""One trial: load the world, strike it by the schedule, let it come to rest, check everything."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from storage.database import Database, open_database
from storage.errors import DatabaseUnreachable
from tests.faults import log_check, snapshot
from tests.faults.callers import Callers
from tests.faults.checker import Violation, check
from tests.faults.history import Accepted, Acknowledged, History, Probed, into
from tests.faults.injuries import ACTS, Act
from tests.faults.people import REVIEWERS
from tests.faults.processes import until
from tests.faults.reviewers import Reviewers
from tests.faults.schedule import Fault
from tests.faults.snapshot import Snapshot
from tests.faults.strangers import Stranger
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


@dataclass
class Report:
    """What happened, and what was found."""

    seed: int
    struck: list[tuple[Fault, str]] = field(default_factory=list)  # with what was hit
    failed: list[tuple[Fault, str]] = field(default_factory=list)  # could not be done, and why
    history: History = field(default_factory=History)
    violations: list[Violation] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    unexpected_deaths: dict[str, int] = field(default_factory=dict)
    left_open: int = 0  # items that did not end though nothing was in their way
    log_trouble: str = ""  # what the verifier said, if the log is not intact
    tries: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def kinds(self) -> Counter[str]:
        return Counter(fault.kind for fault, _ in self.struck)

    @property
    def acknowledged(self) -> Counter[str]:
        """Distinct interactions, by what answered."""
        seen = {
            fact.interaction: fact.via for _, fact in self.history.of(Acknowledged) if isinstance(fact, Acknowledged)
        }
        return Counter(seen.values())

    @property
    def verdicts(self) -> int:
        """Final ones that were acknowledged."""
        return len({fact.item for _, fact in self.history.of(Accepted) if isinstance(fact, Accepted) and fact.final})

    @property
    def probes(self) -> int:
        return len(self.history.of(Probed))


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


async def strike_all(world: World, faults: Sequence[Fault], report: Report, acts: dict[str, Act], log: Path) -> None:
    """Each fault at its moment, several at once where their times overlap; returns when the last one is over."""
    began = time.monotonic()
    with log.open("a", encoding="utf-8", buffering=1) as lines:

        async def strike(fault: Fault) -> None:
            await asyncio.sleep(max(0.0, began + fault.at - time.monotonic()))
            at = time.monotonic() - began
            try:
                hit = await acts[fault.kind](world, fault)
                report.struck.append((fault, hit))
            except Exception as error:
                hit = f"not done: {error!r}"
                report.failed.append((fault, repr(error)))
            took = time.monotonic() - began - at
            told = {"step": fault.step, "planned": round(fault.at, 3), "at": round(at, 3), "kind": fault.kind}
            print(json.dumps({**told, "hit": hit, "seconds": round(took, 3)}), file=lines)

        await asyncio.gather(*(strike(fault) for fault in faults))


async def settle(world: World, report: Report) -> None:
    """Everything is up again and at rest: check, let the open items end, and check again."""
    await until(world.all_ready, REST_SECONDS, "all gateways are ready again")
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
