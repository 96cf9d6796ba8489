"""Strikes both Valkeys: their data, their memory, their processes, and who of them leads."""

from __future__ import annotations

import asyncio

from tests.faults.process_injuries import BACK_SECONDS, kill, stopped
from tests.faults.processes import until
from tests.faults.schedule import Fault
from tests.faults.striking import Act, Missed
from tests.faults.valkeys import Valkeys
from tests.faults.world import World


async def _back(valkeys: Valkeys, name: str) -> None:
    await until(lambda: valkeys.answers(name), BACK_SECONDS, f"Valkey {name} is back")


async def flush(world: World, fault: Fault) -> str:
    if await world.valkeys.ask(world.valkeys.primary, "FLUSHALL") is None:
        raise Missed("Valkey was away")
    return "FLUSHALL"


async def kill_primary(world: World, fault: Fault) -> str:
    async with world.valkeys.busy:
        await kill(world.valkeys.part)
        await _back(world.valkeys, world.valkeys.primary)
    return world.valkeys.primary


async def kill_replica(world: World, fault: Fault) -> str:
    """It comes back as nobody's replica, and is told again whom to follow."""
    async with world.valkeys.busy:
        name = world.valkeys.replica
        await kill(world.valkeys.parts[name])
        await _back(world.valkeys, name)
        await world.valkeys.follow()
    return name


async def stop_primary(world: World, fault: Fault) -> str:
    async with world.valkeys.busy, stopped(world.valkeys.part):
        await asyncio.sleep(fault.seconds)
        return world.valkeys.primary


async def stop_replica(world: World, fault: Fault) -> str:
    async with world.valkeys.busy, stopped(world.valkeys.parts[world.valkeys.replica]):
        await asyncio.sleep(fault.seconds)
        return world.valkeys.replica


async def empty(world: World, fault: Fault) -> str:
    async with world.valkeys.busy:
        if not world.valkeys.part.alive:
            raise Missed("Valkey was away")
        world.valkeys.lose_data()
        await _back(world.valkeys, world.valkeys.primary)
    return world.valkeys.primary


async def promote(world: World, fault: Fault) -> str:
    async with world.valkeys.busy:
        if not await world.valkeys.promote_lagging(fault.seconds):
            raise Missed("the replica could not be promoted")
    return f"{world.valkeys.primary} leads"


async def fill_memory(world: World, fault: Fault) -> str:
    """Every write is refused for want of memory."""
    async with world.valkeys.busy:
        name = world.valkeys.primary
        if await world.valkeys.ask(name, "CONFIG", "SET", "maxmemory", "1") is None:
            raise Missed("Valkey was away")
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            await world.valkeys.ask(name, "CONFIG", "SET", "maxmemory", "0")
    return name


ACTS: dict[str, Act] = {
    "flush valkey": flush,
    "kill valkey": kill_primary,
    "stop valkey": stop_primary,
    "empty valkey": empty,
    "kill replica valkey": kill_replica,
    "stop replica valkey": stop_replica,
    "promote lagging replica": promote,
    "fill valkey's memory": fill_memory,
}
