"""The product as real processes behind proxies: PostgreSQL, two Valkeys, gateways, workers, and a model's server."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from launch.ports import LOOPBACK
from storage import log_keys
from storage.database import open_database
from tests.faults import people
from tests.faults.instant import TOKEN, InstantModel
from tests.faults.ports import free_port
from tests.faults.postgres import Postgres
from tests.faults.processes import MARK, Keeper, Part, python, until
from tests.faults.proxy import Proxy
from tests.faults.valkeys import Valkeys
from tests.mutations.tree import ROOT

CLAIM_SECONDS = 2.0  # short, so that pauses outlive leases


@dataclass
class Member:
    """A gateway or a worker with its own ways to PostgreSQL and Valkey."""

    part: Part
    database: Proxy | None  # None: a file, which needs no way
    valkey: Proxy
    control: Path  # tests.faults.crashing reads here when to die
    entrance: Proxy | None = None  # where callers and reviewers come in; gateways only
    serving: Proxy | None = None  # the way to a real serving application; gateways before one only
    port: int = 0
    dying: asyncio.Lock = field(default_factory=asyncio.Lock)  # held while it is to die at a durable step
    via: str = ""  # what answers behind it: "ray" or "instant"

    @property
    def name(self) -> str:
        return self.part.name

    def arm(self, number: int) -> None:
        """From now on it lives for so many durable steps less one, and dies at the last."""
        self._told.unlink(missing_ok=True)
        self.part.expecting_death = True
        self.control.write_text(str(number), encoding="utf-8")

    def disarm(self) -> None:
        """A process that has begun to count goes on counting: end it too."""
        self.control.unlink(missing_ok=True)

    async def has_died(self) -> bool:
        return self._told.exists()

    def died_at(self) -> str:
        """Between which steps."""
        return self._told.read_text(encoding="utf-8")

    @property
    def _told(self) -> Path:
        return self.control.with_suffix(".died")


@dataclass(frozen=True)
class Wanted:
    """How large a world is, and whose code it runs."""

    home: Path
    tree: Path = ROOT  # the product's source; another copy when a mechanism was taken out
    serving_url: str = ""  # of a real serving application; empty: none
    serving_token: str = ""
    ray_gateways: int = 0
    instant_gateways: int = 2
    workers: int = 2


@dataclass
class World:
    wanted: Wanted
    keeper: Keeper = field(default_factory=Keeper)
    gateways: list[Member] = field(default_factory=list)
    workers: list[Member] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)  # by name of tests.faults.people
    ids: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.postgres, self.valkeys = Postgres(self.wanted.home), Valkeys(self.wanted.home)
        self.instant = InstantModel()
        self.logs = self.wanted.home / "logs"
        self._keeping: asyncio.Task[None] | None = None

    @property
    def members(self) -> list[Member]:
        return [*self.gateways, *self.workers]

    @property
    def product_home(self) -> Path:
        return self.wanted.home / "home"

    @property
    def proxies(self) -> list[Proxy]:
        entrances = [member.entrance for member in self.gateways if member.entrance is not None]
        ways = [way for one in self.members for way in (one.database, one.valkey, one.serving) if way is not None]
        return [*entrances, *ways]

    @property
    def database_url(self) -> str:
        """The harness's own way in, past every proxy."""
        return self.postgres.url

    async def start(self) -> None:
        """Returns when every gateway says it is ready. Raises TimeoutError, RuntimeError."""
        self.logs.mkdir()
        plain = environment(self.keeper.mark)
        await self.instant.start()
        await self.postgres.start(self.keeper, self.logs / "postgres.log", plain)
        await self.valkeys.start(self.keeper, self.logs, plain)
        self._migrate()
        self._prepare()
        for number in range(self.wanted.ray_gateways):
            await self._add_gateway(f"gateway-ray-{number}", "ray")
        for number in range(self.wanted.instant_gateways):
            await self._add_gateway(f"gateway-instant-{number}", "instant")
        for number in range(self.wanted.workers):
            self.workers.append(await self._member(f"worker-{number}", "worker", {}))
        self.begin_keeping()
        await until(self.all_ready, 90, "all gateways are ready: see their logs")

    async def stop(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
        self.keeper.end()
        for proxy in self.proxies:
            await proxy.stop()
        await self.valkeys.end()
        await self.instant.stop()

    def begin_keeping(self) -> None:
        self._keeping = asyncio.create_task(self.keeper.keep())

    async def waiting_ids(self) -> set[str]:
        """What Valkey says waits: members of every tenant's set."""
        valkeys = self.valkeys
        keys = await valkeys.ask(valkeys.primary, "KEYS", "countersign:waiting:*") or []
        found = [await valkeys.ask(valkeys.primary, "ZRANGE", key, "0", "-1") for key in keys]
        return {member.decode() for members in found for member in members or []}

    async def all_ready(self) -> bool:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            for gateway in self.gateways:
                try:
                    async with session.get(f"http://{LOOPBACK}:{gateway.port}/health/ready") as response:
                        if response.status != 200:
                            return False
                except (aiohttp.ClientError, TimeoutError):
                    return False
        return True

    def _migrate(self) -> None:
        told = {**self._product_environment(), "DATABASE_URL": self.database_url}
        command = python("gateway.command", "migrate")
        done = subprocess.run(command, env=told, cwd=self.wanted.tree, capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise RuntimeError(f"countersign migrate failed: {done.stdout[-2000:]}{done.stderr[-4000:]}")

    def _prepare(self) -> None:
        database = open_database(self.database_url, log_keys.vault(self.product_home / "audit"))
        self.secrets, self.ids = people.prepare(database)
        database.close()

    async def _add_gateway(self, name: str, via: str) -> None:
        port = free_port()
        ray = via == "ray"
        serving = await self._way_to_serving(name) if ray else None
        told = {
            "COUNTERSIGN_HOST": LOOPBACK,
            "COUNTERSIGN_PORT": str(port),
            "COUNTERSIGN_WORKER": "off",
            "COUNTERSIGN_SERVING_URL": self.instant.url if serving is None else f"http://{LOOPBACK}:{serving.port}",
            "COUNTERSIGN_SERVING_TOKEN": self.wanted.serving_token if ray else TOKEN,
        }
        member = await self._member(name, "gateway", told)
        member.serving = serving
        await self._open_to_callers(member, port, via)

    async def _way_to_serving(self, name: str) -> Proxy:
        parsed = urlsplit(self.wanted.serving_url)
        return await Proxy(f"{name}→serving", (parsed.hostname or LOOPBACK, parsed.port or 80)).start()

    async def _open_to_callers(self, member: Member, port: int, via: str) -> None:
        member.port, member.via = port, via
        member.entrance = await Proxy(f"callers→{member.name}", (LOOPBACK, port)).start()
        self.gateways.append(member)

    async def _member(self, name: str, what: str, told: Mapping[str, str]) -> Member:
        database = await Proxy(f"{name}→database", self.postgres.socket).start()
        valkey = await Proxy(f"{name}→valkey", self.valkeys.address).start()
        self.valkeys.clients.append(valkey)
        return self._start_member(name, what, told, database, valkey)

    def _start_member(
        self, name: str, what: str, told: Mapping[str, str], database: Proxy | None, valkey: Proxy
    ) -> Member:
        url = self.database_url if database is None else self.postgres.proxied_url(database.port)
        ways = {"DATABASE_URL": url, "REDIS_URL": f"redis://{LOOPBACK}:{valkey.port}/0"}
        control = self.wanted.home / f"{name}.die"
        command = python("tests.faults.crashing", str(control), "--", what)
        environment = {**self._product_environment(), **ways, **told}
        part = Part(name, command, environment, self.wanted.tree, self.logs / f"{name}.log")
        return Member(self.keeper.add(part), database, valkey, control)

    def _product_environment(self) -> dict[str, str]:
        return {
            **environment(self.keeper.mark),
            "PYTHONPATH": str(self.wanted.tree),
            "COUNTERSIGN_HOME": str(self.product_home),
            "COUNTERSIGN_CLAIM_SECONDS": str(CLAIM_SECONDS),
            "COUNTERSIGN_MAX_CLAIMS": "20",
            "COUNTERSIGN_RECONCILE_SECONDS": "1",
            "COUNTERSIGN_POLL_SECONDS": "0.3",
            "COUNTERSIGN_STREAM_WAIT_SECONDS": "4",
            "COUNTERSIGN_KEEP_ALIVE_SECONDS": "0.5",
            "COUNTERSIGN_ASK_TIMEOUT_SECONDS": "30",
            "COUNTERSIGN_LOG_LEVEL": "WARNING",
        }


def environment(mark: str) -> dict[str, str]:
    """The harness's own without any of the product's settings."""
    foreign = ("COUNTERSIGN_", "RAY_", "DATABASE_URL", "REDIS_URL", "OTEL_")
    mine = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**mine, MARK: mark, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
