"""The review queue under load: how fast a claim is granted, that none is granted twice, how fast Valkey is rebuilt."""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
import uvloop

from benchmarks.machine import machine
from benchmarks.own_servers import NotThere, OwnGateway, own_folder, own_gateway, own_postgres, own_valkey
from benchmarks.queue_desks import http_desk, inner_desk
from benchmarks.queue_items import fill, grants, people, waiting
from benchmarks.queue_leases import double_leases, percentile
from benchmarks.queue_reviewers import Desk, Shift, check, work
from gateway.logs import configure_logs
from gateway.operations import vault_of
from gateway.settings import Settings
from storage import database as databases
from storage import dispatch
from storage.database import Database, open_database
from storage.records import Key
from storage.review_queue import ReviewQueue

CLAIM_SECONDS = 4.0  # of a lease: longer than anybody thinks, short enough that leases lapse while it is measured
PATHS = ("http", "storage")


@dataclass(frozen=True, slots=True)
class Measured:
    """A shift, and what it cost in processor time; `inside`, where there is no gateway, the generator's is both's."""

    shift: Shift
    seconds: float  # until its last reviewer was done
    generator_seconds: float
    gateway_seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when measured, 1 when an item was leased twice, 2 when a server that is needed is not there."""
    options = _options(arguments)
    configure_logs("WARNING")
    try:
        measured = measure(options)
    except NotThere as error:
        print(f"queue: {error}", file=sys.stderr)
        return 2
    print(json.dumps(measured, indent=None if options.json else 2))
    return 1 if measured["double_leases"] else 0


def measure(options: argparse.Namespace) -> dict[str, Any]:
    by_database = {name: _on(name, options) for name in options.databases}
    shifts = [found[path] for found in by_database.values() for path in PATHS]
    return {
        "items": options.items,
        "reviewers": options.reviewers,
        "rate": options.rate,
        "seconds": options.seconds,
        "claim_p99_ms": max(found["http"]["claim_p99_ms"] for found in by_database.values()),
        "claim_path": "http",  # the whole product: key, hint, lease, commit, and the case as the desk shows it
        "storage_claim_p99_ms": max(found["storage"]["claim_p99_ms"] for found in by_database.values()),
        "claims": sum(shift["claims"] for shift in shifts),
        "double_leases": sum(shift["double_leases"] for shift in shifts),
        "rebuilt_items": min(found["rebuilt_items"] for found in by_database.values()),
        "rebuild_s": max(found["rebuild_s"] for found in by_database.values()),
        "by_database": by_database,
        "seed": options.seed,
        "load": os.getloadavg()[0],
        "machine": machine(),
    }


def _on(name: str, options: argparse.Namespace) -> dict[str, Any]:
    with own_folder() as folder, own_valkey(folder) as valkey, _database(name, folder, options.postgres) as url:
        environment = {
            "DATABASE_URL": url,
            "REDIS_URL": valkey,
            "COUNTERSIGN_CLAIM_SECONDS": str(CLAIM_SECONDS),
            "COUNTERSIGN_MAX_CLAIMS": "100",
            "COUNTERSIGN_LOG_LEVEL": "WARNING",
        }
        settings = Settings(
            home=folder, database_url=url, redis_url=valkey, claim_seconds=CLAIM_SECONDS, max_claims=100
        )
        databases.migrate(url)
        database = open_database(url, vault_of(settings))
        try:
            draw = random.Random(options.seed)
            caller, staff = people(database, options.reviewers)
            found: dict[str, Any] = {}
            for path in PATHS:
                _refill(database, caller, options.items, draw, valkey)
                measured = _shift(path, folder, environment, settings, database, staff, options, draw)
                found[path] = _figures(measured, database, [key for key, _ in staff])
                _say(name, path, found[path])
            _refill(database, caller, options.rebuild, draw, valkey, queued=False)
            found |= _rebuild(database, valkey)
            _say(name, "rebuild", {key: found[key] for key in ("rebuilt_items", "rebuild_s")})
            return found
        finally:
            database.close()


@contextmanager
def _database(name: str, folder: Path, postgres: str | None) -> Iterator[str]:
    if name == "sqlite":
        yield f"sqlite:///{folder / 'countersign.db'}"
    elif postgres:
        yield postgres
    else:
        with own_postgres(folder) as url:
            yield url


def _refill(
    database: Database, caller: Key, count: int, draw: random.Random, valkey: str, *, queued: bool = True
) -> None:
    """Until `count` items wait; and in Valkey too, unless it is to stay empty."""
    with database.read() as conn:
        missing = count - waiting(conn)
    fill(database, caller, missing, draw)
    if queued:
        queue = ReviewQueue(valkey)
        dispatch.reconcile(database, queue)
        queue.close()


def _shift(
    path: str,
    folder: Path,
    environment: dict[str, str],
    settings: Settings,
    database: Database,
    staff: list[tuple[Key, str]],
    options: argparse.Namespace,
    draw: random.Random,
) -> Measured:
    async def measured(desk: Desk, gateway_seconds: Callable[[], float]) -> Measured:
        warm_up = min(5.0, options.seconds)  # connections, caches, plans
        await work(desk, len(staff), options.rate, warm_up, draw)
        began, own, theirs = time.monotonic(), time.process_time(), gateway_seconds()
        shift = await work(desk, len(staff), options.rate, options.seconds, draw)
        used = (time.process_time() - own, gateway_seconds() - theirs)
        return Measured(shift, time.monotonic() - began, *used)

    async def over_http(gateway: OwnGateway) -> Measured:
        async with http_desk(gateway.url, [secret for _, secret in staff]) as desk:
            return await measured(desk, gateway.cpu_seconds)

    async def inside() -> Measured:
        async with inner_desk(settings, database, [key for key, _ in staff]) as desk:
            return await measured(desk, lambda: 0.0)

    if path == "storage":
        return uvloop.run(inside())
    with own_gateway(folder, environment) as gateway:
        return uvloop.run(over_http(gateway))


def _figures(measured: Measured, database: Database, staff: list[Key]) -> dict[str, Any]:
    shift = measured.shift
    told = [(held.item, held.token, staff[reviewer].id, held.lease_end) for reviewer, held in shift.granted]
    with database.read() as conn:
        record = grants(conn, told)
    milliseconds = {
        f"claim_p{share:g}_ms": round(1000 * percentile(shift.seconds_to_claim, share / 100), 2)
        for share in (50, 95, 99, 99.9)
    }
    return {
        "claims": len(record),
        **milliseconds,
        "late_p99_ms": round(1000 * percentile(shift.seconds_late, 0.99), 2),
        "generator_cpu": round(measured.generator_seconds / measured.seconds, 2),
        "gateway_cpu": round(measured.gateway_seconds / measured.seconds, 2),
        "double_leases": double_leases(record),
        **dict(shift.done),
    }


def _rebuild(database: Database, valkey: str) -> dict[str, Any]:
    """Empties Valkey and fills it again from SQL, as the worker does."""
    with redis.Redis.from_url(valkey) as client:
        client.flushall()
    queue, begun = ReviewQueue(valkey), time.monotonic()
    rebuilt = dispatch.reconcile(database, queue)
    seconds = time.monotonic() - begun
    queue.close()
    return {"rebuilt_items": rebuilt, "rebuild_s": round(seconds, 2)}


def _say(name: str, what: str, figures: dict[str, Any]) -> None:
    print(f"{name}, {what}: {json.dumps(figures)}", file=sys.stderr)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run bench queue", description=__doc__)
    parser.add_argument("--items", type=int, default=50_000, help="that wait while reviewers claim")
    parser.add_argument("--reviewers", type=int, default=200)
    parser.add_argument("--rate", type=float, default=40.0, help="claims a second that arrive")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each path and database")
    parser.add_argument("--rebuild", type=int, default=100_000, help="items rebuilt into an emptied Valkey")
    parser.add_argument("--seed", type=int, default=secrets.randbits(31), help="drawn anew each time unless given")
    parser.add_argument("--databases", nargs="+", choices=("sqlite", "postgresql"), default=["sqlite", "postgresql"])
    parser.add_argument("--postgres", help="URL of a database without tables; otherwise a server is started")
    parser.add_argument("--json", action="store_true", help="the last line on standard output is one JSON object")
    options = parser.parse_args(arguments)
    try:
        check(range(options.reviewers), options.rate)
    except ValueError as error:
        parser.error(str(error))
    return options


if __name__ == "__main__":
    sys.exit(main())
