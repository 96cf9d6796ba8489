"""The embedded set-up under faults: one gateway with its worker inside, on SQLite, on a small disk if permitted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
from pathlib import Path

import redis

from launch.ports import LOOPBACK
from storage import embedded_valkey
from tests.faults.instant import TOKEN
from tests.faults.ports import free_port
from tests.faults.process_injuries import dying_at_step, gateway_parts, killing, stopping
from tests.faults.processes import Part, until
from tests.faults.proxy import Proxy
from tests.faults.schedule import Fault
from tests.faults.striking import Act, Missed
from tests.faults.world import World, environment

DISK_MEGABYTES = 48
BLOCK = 65_536  # bytes written at a time


class EmbeddedWorld(World):
    """Its home, with database, audit files and logs of the product, lies on a tmpfs where root may mount one."""

    mounted = False

    @property
    def database_url(self) -> str:
        return f"sqlite:///{self.product_home / 'countersign.db'}"

    async def start(self) -> None:
        self.logs.mkdir()
        self.product_home.mkdir()
        self.mounted = mount(self.product_home)
        await self.instant.start()
        folder = self.wanted.home / "valkey"
        folder.mkdir()
        log = self.logs / "valkey.log"
        plain = {**environment(self.keeper.mark), "PYTHONPATH": str(self.wanted.tree)}
        self.keeper.add(Part("valkey", embedded_valkey.command(folder), plain, self.wanted.tree, log))
        await until(lambda: asyncio.to_thread(embedded_valkey.answers, folder), 20, "Valkey answers")
        self._migrate()
        self._prepare()
        await self._add_embedded(embedded_valkey.socket_path(folder))
        self.begin_keeping()
        await until(self.all_ready, 90, "the embedded gateway is ready: see its log")

    async def _add_embedded(self, socket: Path) -> None:
        port = free_port()
        told = {
            "COUNTERSIGN_HOST": LOOPBACK,
            "COUNTERSIGN_PORT": str(port),
            "COUNTERSIGN_WORKER": "embedded",
            "COUNTERSIGN_SERVING_URL": self.instant.url,
            "COUNTERSIGN_SERVING_TOKEN": TOKEN,
        }
        valkey = await Proxy("embedded→valkey", socket).start()
        member = self._start_member("gateway-embedded", "gateway", told, None, valkey)
        await self._open_to_callers(member, port, "instant")

    async def waiting_ids(self) -> set[str]:
        return await asyncio.to_thread(self._waiting)

    def _waiting(self) -> set[str]:
        with redis.Redis(port=self.members[0].valkey.port, decode_responses=True) as client:
            keys = list(client.scan_iter("countersign:waiting:*"))
            return {str(member) for key in keys for member in client.zrange(key, 0, -1)}

    async def stop(self) -> None:
        await super().stop()
        if self.mounted:
            await asyncio.to_thread(unmount, self.product_home)


def unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)


def mount(folder: Path) -> bool:
    """A small file system in memory; False where that is not permitted."""
    if os.geteuid() != 0:
        return False
    options = ["-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m,mode=700", "countersign-faults", str(folder)]
    try:
        return subprocess.run(["mount", *options], check=False, capture_output=True).returncode == 0
    except OSError:
        return False


async def fill_disk(world: World, fault: Fault) -> str:
    """Not one more byte fits for the fault's seconds. Raises RuntimeError where the disk is not a small one."""
    if not isinstance(world, EmbeddedWorld) or not world.mounted:
        raise RuntimeError("mounting a small disk is not permitted here")
    ballast = world.product_home / f"ballast-{fault.step}"
    written = 0
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            written += file.write(bytes(BLOCK))
    try:
        await asyncio.sleep(fault.seconds)
    finally:
        ballast.unlink(missing_ok=True)
    if not written:
        raise Missed("it was full already")
    return f"{written >> 20} MiB"


async def lock_file(world: World, fault: Fault) -> str:
    """Another program holds the database's write lock."""
    file = world.product_home / "countersign.db"

    def begin() -> sqlite3.Connection | None:
        connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=2)
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            connection.close()
            return None
        return connection

    connection = await asyncio.to_thread(begin)
    if connection is None:
        raise Missed("it was locked already")
    await asyncio.sleep(fault.seconds)
    connection.close()  # rolls back: nothing was written
    return "BEGIN IMMEDIATE"


ACTS: dict[str, Act] = {
    "fill the disk": fill_disk,
    "lock the database file": lock_file,
    "kill the embedded gateway": killing(gateway_parts),
    "stop the embedded gateway": stopping(gateway_parts),
    "kill the embedded gateway at a durable step": dying_at_step(lambda world: world.gateways, 30),
}
