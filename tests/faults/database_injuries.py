"""Strikes PostgreSQL: its connections, its locks, its backends and its postmaster."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress

import psutil
import psycopg

from tests.faults.postgres import OWN_NAME, Postgres
from tests.faults.process_injuries import kill
from tests.faults.processes import Part, until
from tests.faults.schedule import Fault
from tests.faults.striking import Act, Missed, aimed
from tests.faults.world import World

TABLES = ("review_items", "interactions", "verdicts", "audit_events", "outbox", "keys", "audit_unsealed", "idempotency")
UP_SECONDS = 60.0  # it refuses to start while a backend of the dead one lives, and then recovers
LOOKS = 30  # for a statement that runs at that very moment
_PRODUCT = f"datname = current_database() AND client_port IS NOT NULL AND application_name <> '{OWN_NAME}'"


async def _query(world: World, query: str, *values: object) -> list[tuple[object, ...]]:
    """Raises Missed when the database is away."""
    try:
        connection = await world.postgres.connect()
        try:
            cursor = await connection.execute(query.encode(), values or None)
            return await cursor.fetchall()
        finally:
            await connection.close()
    except psycopg.Error as error:
        raise Missed(f"the database was away: {str(error).strip()[:80]}") from error


async def terminate_backend(world: World, fault: Fault) -> str:
    pids = [row[0] for row in await _query(world, f"SELECT pid FROM pg_stat_activity WHERE {_PRODUCT} ORDER BY 1")]
    pid = aimed(fault, pids)
    if await _query(world, "SELECT pg_terminate_backend(%s)", pid) != [(True,)]:
        raise Missed(f"backend {pid} had ended")
    return f"one of {len(pids)}"


async def cancel_statements(world: World, fault: Fault) -> str:
    """All that run at a moment when some do."""
    running = f"SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE {_PRODUCT} AND state = 'active'"
    for _ in range(LOOKS):
        hit = (await _query(world, running)).count((True,))
        if hit:
            return f"{hit} statements"
        await asyncio.sleep(0.01)
    raise Missed("no statement ran")


async def lock_table(world: World, fault: Fault) -> str:
    """A miss when nobody waited for it at the end."""
    table = aimed(fault, TABLES)
    waiting = b"SELECT count(*) FROM pg_locks WHERE relation = %s::regclass AND NOT granted"
    try:
        connection = await world.postgres.connect()
        try:
            async with connection.transaction():
                await connection.execute(b"SET LOCAL lock_timeout = '5s'")
                await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
                await asyncio.sleep(fault.seconds)
                row = await (await connection.execute(waiting, (table,))).fetchone()
        finally:
            await connection.close()
    except psycopg.Error as error:
        raise Missed(f"{table} could not be locked: {str(error).strip()[:80]}") from error
    if row is None or not row[0]:
        raise Missed(f"nobody came to {table}")
    return f"{table}: {row[0]} waited"


async def crash_backend(world: World, fault: Fault) -> str:
    """kill -9 of one backend: the postmaster ends all others and recovers from the log."""
    async with world.postgres.busy:
        pid = _backend(world.postgres, fault)
        _send(pid, signal.SIGKILL)
        await until(lambda: _gone(pid), UP_SECONDS, f"backend {pid} is gone", 0.02)
        await _up(world.postgres)
    return f"backend {pid}"


async def stop_backend(world: World, fault: Fault) -> str:
    """It keeps whatever it has locked."""
    pid = _backend(world.postgres, fault)
    _send(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(fault.seconds)
    finally:
        with suppress(Missed):
            _send(pid, signal.SIGCONT)
    return f"backend {pid}"


def _backend(postgres: Postgres, fault: Fault) -> int:
    return aimed(fault, postgres.backend_pids())


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        raise Missed(f"backend {pid} had ended") from None


async def restart(world: World, fault: Fault) -> str:
    """What `pg_ctl restart -m immediate` does: no checkpoint, recovery at the start."""
    await _end_postmaster(world, signal.SIGQUIT)
    return "SIGQUIT to the postmaster"


async def kill_postmaster(world: World, fault: Fault) -> str:
    """Its backends end by themselves when they see it; until they have, a new one refuses to start, and is started
    again and again, as by an operator's supervisor."""
    await _end_postmaster(world, signal.SIGKILL)
    return "kill -9 of the postmaster"


async def _end_postmaster(world: World, number: signal.Signals) -> None:
    async with world.postgres.busy:
        await kill(_part(world.postgres), number)
        await _up(world.postgres)


async def _up(postgres: Postgres) -> None:
    await until(postgres.answers, UP_SECONDS, "PostgreSQL answers again", 0.1)


async def _gone(pid: int) -> bool:
    return not psutil.pid_exists(pid)


def _part(postgres: Postgres) -> Part:
    if postgres.part is None:
        raise RuntimeError("PostgreSQL was never started.")
    return postgres.part


ACTS: dict[str, Act] = {
    "terminate database backend": terminate_backend,
    "cancel statements": cancel_statements,
    "lock tables": lock_table,
    "crash database backend": crash_backend,
    "stop database backend": stop_backend,
    "restart database at once": restart,
    "kill postmaster": kill_postmaster,
}
