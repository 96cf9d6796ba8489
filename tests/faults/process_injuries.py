"""Kills and stops the product's own processes: anywhere, or at a numbered durable step."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from tests.faults.processes import Part, until
from tests.faults.schedule import Fault
from tests.faults.striking import Act, Missed, OutsideSteps, aimed
from tests.faults.world import Member, World

BACK_SECONDS = 30.0
STEP_SECONDS = 15.0  # a worker that does not lead takes few durable steps


async def kill(part: Part, number: signal.Signals = signal.SIGKILL) -> None:
    """Returns when the keeper has started it again. Raises Missed when it was dead, TimeoutError."""
    starts = part.starts
    if not part.kill(number):
        raise Missed(f"{part.name} was not running")

    async def again() -> bool:
        return part.starts > starts and part.alive

    await until(again, BACK_SECONDS, f"{part.name} is back", 0.05)


@asynccontextmanager
async def stopped(part: Part) -> AsyncIterator[None]:
    """It makes no step while the block runs. Raises Missed when it was dead."""
    if not part.send(signal.SIGSTOP):
        raise Missed(f"{part.name} was not running")
    try:
        yield
    finally:
        part.send(signal.SIGCONT)


def killing(parts: Callable[[World], Sequence[Part]]) -> Act:
    async def act(world: World, fault: Fault) -> str:
        part = aimed(fault, parts(world))
        await kill(part)
        return part.name

    return act


def stopping(parts: Callable[[World], Sequence[Part]]) -> Act:
    async def act(world: World, fault: Fault) -> str:
        part = aimed(fault, parts(world))
        async with stopped(part):
            await asyncio.sleep(fault.seconds)
        return part.name

    return act


def dying_at_step(members: Callable[[World], Sequence[Member]], steps: int) -> Act:
    """The part kills itself at its N-th durable step from now, N at most `steps`; started again like any other."""

    async def act(world: World, fault: Fault) -> str:
        member, number = aimed(fault, members(world)), 1 + fault.number % steps
        async with member.dying:  # one at a time: both would write the same file
            member.arm(number)
            try:
                await until(member.has_died, STEP_SECONDS, f"{member.name} died at a step", 0.05)
            except TimeoutError:
                member.disarm()
                member.part.kill()  # it may have begun to count
                raise OutsideSteps(member.name) from None
            return f"{member.name} {member.died_at()}, step {number}"

    return act


def gateway_parts(world: World) -> list[Part]:
    return [member.part for member in world.gateways]


def worker_parts(world: World) -> list[Part]:
    return [member.part for member in world.workers]


ACTS: dict[str, Act] = {
    "kill gateway": killing(gateway_parts),
    "stop gateway": stopping(gateway_parts),
    "kill gateway at a durable step": dying_at_step(lambda world: world.gateways, 30),
    "kill worker": killing(worker_parts),
    "stop worker": stopping(worker_parts),
    "kill worker at a durable step": dying_at_step(lambda world: world.workers, 6),
}
