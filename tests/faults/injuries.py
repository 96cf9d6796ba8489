"""Does to the running world what the schedule says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import psycopg

from tests.faults.processes import Part, until
from tests.faults.proxy import Proxy
from tests.faults.schedule import Fault
from tests.faults.world import Member, World

Target = TypeVar("Target")
Act = Callable[[World, Fault], Awaitable[str]]  # returns what was hit
TABLES = ("review_items", "interactions", "verdicts", "audit_events", "outbox", "keys", "audit_unsealed", "idempotency")
BACK_SECONDS = 30.0
STEP_SECONDS = 15.0  # a worker that does not lead takes few durable steps


def aimed(fault: Fault, targets: Sequence[Target]) -> Target:
    return targets[int(fault.aim * len(targets))]


def database_way(world: World, fault: Fault) -> Proxy:
    return aimed(fault, [member.database for member in world.members if member.database is not None])


def valkey_way(world: World, fault: Fault) -> Proxy:
    return aimed(fault, world.members).valkey


def entrance(world: World, fault: Fault) -> Proxy:
    return aimed(fault, [member.entrance for member in world.gateways if member.entrance is not None])


def cutting(way: Callable[[World, Fault], Proxy]) -> Act:
    async def act(world: World, fault: Fault) -> str:
        proxy = way(world, fault)
        return f"{proxy.name}: {proxy.cut()} connections"

    return act


def lasting(way: Callable[[World, Fault], Proxy], how: str) -> Act:
    """`delayed`, `losing_replies` or `black_hole` for the fault's seconds."""

    async def act(world: World, fault: Fault) -> str:
        proxy = way(world, fault)
        trouble = {
            "delayed": lambda: proxy.delayed(fault.seconds),
            "losing": proxy.losing_replies,
            "swallowing": proxy.black_hole,
        }[how]()
        async with trouble:
            await asyncio.sleep(max(fault.seconds, 0.5) if how == "delayed" else fault.seconds)
        return proxy.name

    return act


async def half_close(world: World, fault: Fault) -> str:
    proxy = entrance(world, fault)
    return f"{proxy.name}: {proxy.half_close()} connections"


def killing(parts: Callable[[World], Sequence[Part]]) -> Act:
    async def act(world: World, fault: Fault) -> str:
        part = aimed(fault, parts(world))
        part.kill()
        await until(lambda: _lives(part), BACK_SECONDS, f"{part.name} is back", 0.05)
        return part.name

    return act


async def _lives(part: Part) -> bool:
    return part.alive


def stopping(parts: Callable[[World], Sequence[Part]]) -> Act:
    async def act(world: World, fault: Fault) -> str:
        part = aimed(fault, parts(world))
        part.send(signal.SIGSTOP)
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            part.send(signal.SIGCONT)
        return part.name

    return act


def dying_at_step(members: Callable[[World], Sequence[Member]], steps: int) -> Act:
    """The part kills itself at its N-th durable step from now, N at most `steps`; started again like any other."""

    async def act(world: World, fault: Fault) -> str:
        member, number = aimed(fault, members(world)), 1 + fault.number % steps
        async with member.dying:  # one at a time: both would write the same file
            told = member.control.with_suffix(".died")
            told.unlink(missing_ok=True)
            member.part.expecting_death = True
            member.control.write_text(str(number), encoding="utf-8")
            try:
                await until(lambda: asyncio.to_thread(told.exists), STEP_SECONDS, f"{member.name} died at a step", 0.05)
                where = told.read_text(encoding="utf-8")
            except TimeoutError:
                member.control.unlink(missing_ok=True)
                member.part.kill()  # it came to no such step: it dies all the same, so that the fault has happened
                where = "outside any step"
        return f"{member.name} {where}, step {number}"

    return act


async def _query(world: World, query: str, *values: object) -> list[tuple[object, ...]]:
    connection = await world.postgres.connect()
    try:
        cursor = await connection.execute(query.encode(), values or None)
        return await cursor.fetchall()
    finally:
        await connection.close()


_BACKENDS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND client_port IS NOT NULL"


def backends(function: str, more: str = "") -> Act:
    """`pg_terminate_backend` of one of the product's connections, or `pg_cancel_backend` of all that work."""

    async def act(world: World, fault: Fault) -> str:
        with contextlib.suppress(psycopg.Error):
            pids = [row[0] for row in await _query(world, f"{_BACKENDS} AND pid <> pg_backend_pid() {more} ORDER BY 1")]
            chosen = pids if more else ([aimed(fault, pids)] if pids else [])
            for pid in chosen:
                await _query(world, f"SELECT {function}(%s)", pid)
            return f"{function} of {len(chosen)}"
        return "the database was away already"

    return act


async def lock_table(world: World, fault: Fault) -> str:
    table = aimed(fault, TABLES)
    with contextlib.suppress(psycopg.Error):
        connection = await world.postgres.connect()
        try:
            async with connection.transaction():
                await connection.execute(b"SET LOCAL lock_timeout = '5s'")
                await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
                await asyncio.sleep(fault.seconds)
        finally:
            await connection.close()
    return table


async def crash_backend(world: World, fault: Fault) -> str:
    """kill -9 of one backend: the postmaster ends all others and recovers from the log."""
    pids = world.postgres.backend_pids()
    if pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(aimed(fault, pids), signal.SIGKILL)
    return f"one of {len(pids)} backends"


async def restart_database(world: World, fault: Fault) -> str:
    """What `pg_ctl restart -m immediate` does: no checkpoint, recovery at the start."""
    part = world.postgres.part
    if part is None:
        raise RuntimeError("PostgreSQL was never started.")
    part.kill(signal.SIGQUIT)
    await until(lambda: _lives(part), BACK_SECONDS, "PostgreSQL is back", 0.05)
    return part.name


async def flush(world: World, fault: Fault) -> str:
    await world.valkeys.ask(world.valkeys.primary, "FLUSHALL")
    return "FLUSHALL"


async def kill_valkey(world: World, fault: Fault) -> str:
    async with world.valkeys.busy:
        world.valkeys.part.kill()
        await until(lambda: world.valkeys.answers(world.valkeys.primary), BACK_SECONDS, "Valkey is back")
    return world.valkeys.primary


async def stop_valkey(world: World, fault: Fault) -> str:
    async with world.valkeys.busy:
        part = world.valkeys.part
        part.send(signal.SIGSTOP)
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            part.send(signal.SIGCONT)
    return part.name


async def empty_valkey(world: World, fault: Fault) -> str:
    async with world.valkeys.busy:
        world.valkeys.lose_data()
        await until(lambda: world.valkeys.answers(world.valkeys.primary), BACK_SECONDS, "Valkey is back")
    return world.valkeys.primary


async def promote(world: World, fault: Fault) -> str:
    async with world.valkeys.busy:
        await world.valkeys.promote_lagging(fault.seconds)
    return f"{world.valkeys.primary} leads"


async def fill_memory(world: World, fault: Fault) -> str:
    """Every write is refused for want of memory."""
    async with world.valkeys.busy:
        name = world.valkeys.primary
        await world.valkeys.ask(name, "CONFIG", "SET", "maxmemory", "1")
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            await world.valkeys.ask(name, "CONFIG", "SET", "maxmemory", "0")
    return name


def gateway_parts(world: World) -> list[Part]:
    return [member.part for member in world.gateways]


def worker_parts(world: World) -> list[Part]:
    return [member.part for member in world.workers]


ACTS: dict[str, Act] = {
    "cut database connections": cutting(database_way),
    "delay database": lasting(database_way, "delayed"),
    "lose database replies": lasting(database_way, "losing"),
    "swallow database traffic": lasting(database_way, "swallowing"),
    "terminate database backend": backends("pg_terminate_backend"),
    "cancel statements": backends("pg_cancel_backend", "AND state <> 'idle'"),
    "lock tables": lock_table,
    "crash database backend": crash_backend,
    "restart database at once": restart_database,
    "cut valkey connections": cutting(valkey_way),
    "delay valkey": lasting(valkey_way, "delayed"),
    "lose valkey replies": lasting(valkey_way, "losing"),
    "flush valkey": flush,
    "kill valkey": kill_valkey,
    "stop valkey": stop_valkey,
    "empty valkey": empty_valkey,
    "promote lagging replica": promote,
    "fill valkey's memory": fill_memory,
    "cut callers": cutting(entrance),
    "delay callers": lasting(entrance, "delayed"),
    "lose callers' replies": lasting(entrance, "losing"),
    "half-close callers": half_close,
    "kill gateway": killing(gateway_parts),
    "stop gateway": stopping(gateway_parts),
    "kill gateway at a durable step": dying_at_step(lambda world: world.gateways, 60),
    "kill worker": killing(worker_parts),
    "stop worker": stopping(worker_parts),
    "kill worker at a durable step": dying_at_step(lambda world: world.workers, 16),
}
