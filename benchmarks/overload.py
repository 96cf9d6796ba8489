"""The gateway under ten times its load: what it takes stays quick, who is refused is told so, nothing is lost."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import sqlalchemy as sa
from aiohttp import web

from benchmarks.machine import machine
from benchmarks.overload_caller import GIVE_UP_SECONDS, Callers, Sent
from benchmarks.own_servers import NotThere, own_folder, own_gateway, own_postgres, own_valkey
from benchmarks.queue_leases import percentile
from gateway.operations import vault_of
from gateway.settings import Settings
from launch.settings import LaunchSettings
from serving.confidence.calibration import calibration_to_json
from serving.engine.engine_config import EngineConfig
from storage import keys
from storage.database import Database, migrate, open_database
from storage.records import Role
from storage.tables import interactions
from tests.faults.instant import TOKEN, InstantModel
from tests.gateway.certified import put_in_use
from tests.serving.confidence.made import MODEL, calibration

NORMAL = 0.7  # of the measured capacity
OVERLOAD = 10.0  # times the normal load
CALLERS = 8
PARALLEL = EngineConfig().most_running * EngineConfig().ranks * LaunchSettings().replicas  # as `./run up` starts it
_SPREAD = (0.75, 1.25)  # of the time for an answer: else all would end at one instant, and begin at the next
_ROUNDS = 4  # of answers in which the capacity is measured


class SteadyModel(InstantModel):
    """Makes so many answers at once, each in about the same time; further asks wait for their turn."""

    def __init__(self, parallel: int, seconds: float, draw: random.Random) -> None:
        super().__init__()
        self._turn, self._seconds, self._draw = asyncio.Semaphore(parallel), seconds, draw

    async def _ask(self, request: web.Request) -> web.Response:
        async with self._turn:
            await asyncio.sleep(self._seconds * self._draw.uniform(*_SPREAD))
            return await super()._ask(request)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when measured, 1 when something was lost, failed or was refused without a word when to come back, 2 when a
    server that is needed is not there."""
    options = _options(arguments)
    try:
        measured = measure(options)
    except NotThere as error:
        print(f"overload: {error}", file=sys.stderr)
        return 2
    print(json.dumps(measured, indent=None if options.json else 2))
    return 1 if measured["lost"] or measured["failed"] or measured["refused_without_retry_after"] else 0


def measure(options: argparse.Namespace) -> dict[str, Any]:
    busy = machine()
    with own_folder() as folder, own_valkey(folder) as valkey, _database(options.database, folder) as url:
        migrate(url)
        database = open_database(url, vault_of(Settings(home=folder, database_url=url)))
        try:
            environment = {"DATABASE_URL": url, "REDIS_URL": valkey, "COUNTERSIGN_LOG_LEVEL": "ERROR"}
            measured = asyncio.run(_measured(folder, environment, database, options))
        finally:
            database.close()
    settings = Settings()
    return {
        **measured,
        "parallel": options.parallel,
        "answer_seconds": options.answer_seconds,
        "places": settings.max_questions,
        "line": settings.max_waiting_questions,
        "database": options.database,
        "seconds": options.seconds,
        "seed": options.seed,
        "load": os.getloadavg()[0],
        "machine": busy,
    }


async def _measured(
    folder: Path, environment: dict[str, str], database: Database, options: argparse.Namespace
) -> dict[str, Any]:
    draw = random.Random(options.seed)
    model = await SteadyModel(options.parallel, options.answer_seconds, draw).start()
    told = {**environment, "COUNTERSIGN_SERVING_URL": model.url, "COUNTERSIGN_SERVING_TOKEN": TOKEN}
    patience, connections = aiohttp.ClientTimeout(GIVE_UP_SECONDS), aiohttp.TCPConnector(limit=0)
    callers_keys = _people(database)
    with own_gateway(folder, told) as gateway:
        async with aiohttp.ClientSession(gateway.url, timeout=patience, connector=connections) as http:
            callers = Callers(http, callers_keys, draw)
            await callers.at_once(CALLERS, 1)  # connections, caches
            capacity = await callers.at_once(options.parallel, _ROUNDS)
            rate = NORMAL * capacity
            _say(f"capacity {capacity:.1f} answers a second; normal load {rate:.1f} for {options.seconds:.0f} s")
            normal = await callers.flood(rate, options.seconds)
            _say(f"overload {OVERLOAD * rate:.1f} for {options.seconds:.0f} s")
            overload = await callers.flood(OVERLOAD * rate, options.seconds)
    await model.stop()
    rates = {"capacity_per_s": capacity, "normal_per_s": rate, "overload_per_s": OVERLOAD * rate}
    return {
        **figures(normal, overload, _recorded(database)),
        **{name: round(value, 1) for name, value in rates.items()},
    }


def figures(normal: Sequence[Sent], overload: Sequence[Sent], recorded: set[str]) -> dict[str, Any]:
    """What became of the questions; of those under the normal load only their times, and what went wrong."""
    every = [*normal, *overload]
    taken = {
        name: [sent.seconds * 1000 for sent in phase if sent.is_accepted]
        for name, phase in (("normal", normal), ("overload", overload))
    }
    times = {
        f"{name}_p{share}_ms": round(percentile(found, share / 100), 1)
        for name, found in taken.items()
        for share in (50, 99)
    }
    refused = [sent for sent in overload if sent.is_refused]
    return {
        **times,
        "p99_ratio": round(times["overload_p99_ms"] / times["normal_p99_ms"], 2),
        "accepted": len(taken["overload"]),
        "refused": len(refused),
        "refused_429": sum(sent.status == 429 for sent in refused),
        "refused_503": sum(sent.status == 503 for sent in refused),
        "normal_refused": sum(sent.is_refused for sent in normal),
        "refused_without_retry_after": sum(sent.is_refused and not sent.retry_after for sent in every),
        "failed": sum(not sent.is_accepted and not sent.is_refused for sent in every),
        "lost": sum(sent.is_accepted and sent.id not in recorded for sent in every),
    }


def _people(database: Database) -> list[str]:
    with database.transaction() as conn:
        put_in_use(conn, calibration_to_json(calibration(MODEL)))
        return [keys.create(conn, "benchmark", f"caller {number}", {Role.CALLER})[1] for number in range(CALLERS)]


def _recorded(database: Database) -> set[str]:
    with database.read() as conn:
        return set(conn.execute(sa.select(interactions.c.id)).scalars())


@contextmanager
def _database(name: str, folder: Path) -> Iterator[str]:
    if name == "sqlite":
        yield f"sqlite:///{folder / 'countersign.db'}"
        return
    with own_postgres(folder) as url:
        yield url


def _say(text: str) -> None:
    print(f"overload: {text}", file=sys.stderr)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run bench overload", description=__doc__)
    parser.add_argument("--parallel", type=int, default=PARALLEL, help="answers that the model makes at once")
    parser.add_argument(
        "--answer-seconds", type=float, default=1.0, help="that it takes for each, give or take a quarter"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="for each of the two loads")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--seed", type=int, default=secrets.randbits(31), help="drawn anew each time unless given")
    parser.add_argument("--json", action="store_true", help="the last line on standard output is one JSON object")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
