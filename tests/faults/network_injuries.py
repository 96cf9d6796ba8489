"""Cuts, delays, half-closes, swallows and loses what passes the harness's proxies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from tests.faults.proxy import Proxy
from tests.faults.schedule import Fault
from tests.faults.striking import Act, Missed, aimed
from tests.faults.world import World

Ways = Callable[[World], Sequence[Proxy]]


def database_ways(world: World) -> list[Proxy]:
    return [member.database for member in world.members if member.database is not None]


def valkey_ways(world: World) -> list[Proxy]:
    """Those in use: a worker that does not lead has no connection."""
    return [member.valkey for member in world.members if member.valkey.connections]


def entrances(world: World) -> list[Proxy]:
    return [member.entrance for member in world.gateways if member.entrance is not None]


def serving_ways(world: World) -> list[Proxy]:
    """Those in use: a gateway has no connection to serving while it asks nothing."""
    ways = [member.serving for member in world.gateways if member.serving is not None]
    return [way for way in ways if way.connections]


def at_once(ways: Ways, act: Callable[[Proxy], int]) -> Act:
    """`act` says how many connections it hit."""

    async def hit(world: World, fault: Fault) -> str:
        proxy = aimed(fault, ways(world))
        count = act(proxy)
        if not count:
            raise Missed(f"{proxy.name} had no connection")
        return f"{proxy.name}: {count} connections"

    return hit


def lasting(ways: Ways, how: str) -> Act:
    """`delayed`, `losing` or `swallowing` for the fault's seconds; a miss when nothing passed meanwhile."""

    async def hit(world: World, fault: Fault) -> str:
        proxy = aimed(fault, ways(world))
        trouble = {
            "delayed": lambda: proxy.delayed(fault.seconds),
            "losing": proxy.losing_replies,
            "swallowing": proxy.black_hole,
        }[how]()
        before = proxy.troubled
        async with trouble:
            await asyncio.sleep(max(fault.seconds, 0.5) if how == "delayed" else fault.seconds)
        count = proxy.troubled - before
        if not count:
            raise Missed(f"nothing passed {proxy.name}")
        return f"{proxy.name}: {count} pieces"

    return hit


ACTS: dict[str, Act] = {
    "cut database connections": at_once(database_ways, Proxy.cut),
    "delay database": lasting(database_ways, "delayed"),
    "lose database replies": lasting(database_ways, "losing"),
    "swallow database traffic": lasting(database_ways, "swallowing"),
    "cut valkey connections": at_once(valkey_ways, Proxy.cut),
    "delay valkey": lasting(valkey_ways, "delayed"),
    "lose valkey replies": lasting(valkey_ways, "losing"),
    "cut callers": at_once(entrances, Proxy.cut),
    "delay callers": lasting(entrances, "delayed"),
    "lose callers' replies": lasting(entrances, "losing"),
    "half-close callers": at_once(entrances, Proxy.half_close),
}
SERVING_ACTS: dict[str, Act] = {  # between the gateways and a real serving application
    "cut serving connections": at_once(serving_ways, Proxy.cut),
    "delay serving": lasting(serving_ways, "delayed"),
    "lose serving's replies": lasting(serving_ways, "losing"),
}
