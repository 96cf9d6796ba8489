"""Strikes Ray's processes: ranks, replicas and HAProxy, behind gateways that go on asking."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import aiohttp
import psutil

from tests.faults.network_injuries import SERVING_ACTS
from tests.faults.processes import until
from tests.faults.schedule import Fault
from tests.faults.striking import Act, Missed, aimed
from tests.faults.world import World
from tests.serving_process import RunningServing

TARGET_SECONDS = 40.0  # until there is somebody to strike: the one before may still be under repair
REPAIR_SECONDS = 120.0
Wanted = Callable[[psutil.Process], bool]


def is_rank(process: psutil.Process) -> bool:
    return _title(process).startswith("ray::Rank")


def is_replica(process: psutil.Process) -> bool:
    return _title(process).startswith("ray::ServeReplica")


def is_haproxy(process: psutil.Process) -> bool:
    return process.name() == "haproxy"


class RayFaults:
    """The raylet and Ray's own servers are left alone: Ray does not bring them back, an operator's restart does."""

    def __init__(self, serving: RunningServing) -> None:
        self._serving = serving
        self._busy = asyncio.Lock()  # one at a time: whoever is struck is first brought back

    @property
    def acts(self) -> dict[str, Act]:
        return {
            "kill rank": self._killing(is_rank),
            "kill replica": self._killing(is_replica),
            "kill HAProxy": self._killing(is_haproxy),
            "stop rank": self._stopping(is_rank),
            "stop replica": self._stopping(is_replica),
            "stop HAProxy": self._stopping(is_haproxy),
            **SERVING_ACTS,
        }

    def _killing(self, wanted: Wanted) -> Act:
        async def act(world: World, fault: Fault) -> str:
            async with self._busy:
                victim = aimed(fault, await self._targets(wanted))
                title = _title(victim)
                send(victim, psutil.Process.kill)
                await asyncio.sleep(1.0)  # its neighbours see it die before anybody asks whether all is well
                await until(self.answers, REPAIR_SECONDS, "serving answers again", 0.3)
            return title

        return act

    def _stopping(self, wanted: Wanted) -> Act:
        async def act(world: World, fault: Fault) -> str:
            victim = aimed(fault, await self._targets(wanted))
            title = _title(victim)
            send(victim, psutil.Process.suspend)
            try:
                await asyncio.sleep(fault.seconds)
            finally:
                with suppress(Missed):
                    send(victim, psutil.Process.resume)
            return title

        return act

    async def _targets(self, wanted: Wanted) -> list[psutil.Process]:
        """Raises Missed where there is none for a long time."""
        found: list[psutil.Process] = []

        async def some() -> bool:
            found[:] = sorted(await asyncio.to_thread(self._matching, wanted), key=lambda process: process.pid)
            return bool(found)

        try:
            await until(some, TARGET_SECONDS, "there is a process to strike", 0.5)
        except TimeoutError as error:
            raise Missed(str(error)) from None
        return found

    def _matching(self, wanted: Wanted) -> list[psutil.Process]:
        matching = []
        for process in self._serving.processes():
            with suppress(psutil.Error):
                if wanted(process):
                    matching.append(process)
        return matching

    async def answers(self) -> bool:
        headers = {"Authorization": f"Bearer {self._serving.token}"}
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=3)) as session,
                session.get(f"{self._serving.base_url}/health", headers=headers) as response,
            ):
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False


def send(process: psutil.Process, signal: Callable[[psutil.Process], None]) -> None:
    """Raises Missed when it has ended meanwhile."""
    try:
        signal(process)
    except psutil.NoSuchProcess as error:
        raise Missed(str(error)) from None


def _title(process: psutil.Process) -> str:
    """Ray names its workers' processes after what they do."""
    try:
        return " ".join(process.cmdline()).strip() or process.name()
    except psutil.Error:
        return ""
