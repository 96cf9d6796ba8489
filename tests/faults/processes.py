"""Keeps the harness's processes: starts them, hurts them, starts them again when they die, and ends every one."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from storage.ids import new_id

MARK = "COUNTERSIGN_FAULTS_RUN"  # in the environment of all that one run starts
PAUSE_BEFORE_RESTART = 0.1  # seconds; doubled while it dies young, up to LONGEST_PAUSE
LONGEST_PAUSE = 2.0
YOUNG_SECONDS = 3.0
_libc = ctypes.CDLL(None)


def _die_with_parent() -> None:
    """In the child before exec: SIGKILL when the harness's thread ends, however it ends (Linux)."""
    _libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # 1: PR_SET_PDEATHSIG


@dataclass
class Part:
    """One process that is kept alive. `expected` deaths are the harness's own doing; others are counted."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    log: Path
    user: str | None = None  # PostgreSQL does not run as root
    process: subprocess.Popen[bytes] | None = None
    held_down: bool = False  # the keeper leaves it dead
    expecting_death: bool = False
    unexpected_deaths: int = 0
    starts: int = 0
    _started_at: float = 0.0
    _pause: float = PAUSE_BEFORE_RESTART
    _restart_at: float = 0.0

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        if self.process is None:
            raise RuntimeError(f"{self.name} was never started.")
        return self.process.pid

    def start(self) -> None:
        """From the main thread: the child ends with the thread that made it."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                env=dict(self.environment),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
                user=self.user,
            )
        self.starts += 1
        self._started_at = time.monotonic()
        self.expecting_death = False

    def send(self, number: signal.Signals) -> bool:
        """Whether there was a process to send it to."""
        if not self.alive:
            return False
        os.kill(self.pid, number)
        return True

    def kill(self, number: signal.Signals = signal.SIGKILL) -> bool:
        """Ends the process alone, if it lives; the keeper starts it again."""
        if not self.alive:
            return False
        self.expecting_death = True
        return self.send(number)

    def kept(self) -> None:
        """One look of the keeper: starts it again when it is dead and may live."""
        if self.alive or self.held_down or self.process is None:
            return
        now = time.monotonic()
        if self._restart_at == 0.0:
            young = now - self._started_at < YOUNG_SECONDS
            self.unexpected_deaths += not self.expecting_death
            self._pause = min(self._pause * 2, LONGEST_PAUSE) if young else PAUSE_BEFORE_RESTART
            self._restart_at = now + self._pause
        if now >= self._restart_at:
            self._restart_at = 0.0
            self.start()

    def end(self) -> None:
        """The whole session, for good."""
        self.held_down = True
        if self.process is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass
class Keeper:
    """All parts of one run."""

    parts: dict[str, Part] = field(default_factory=dict)
    mark: str = field(default_factory=lambda: new_id("faults"))

    def add(self, part: Part) -> Part:
        self.parts[part.name] = part
        part.start()
        return part

    async def keep(self) -> None:
        """Until cancelled."""
        while True:
            for part in self.parts.values():
                part.kept()
            await asyncio.sleep(0.05)

    def end(self) -> None:
        for part in reversed(self.parts.values()):
            with suppress(Exception):
                part.end()


def python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)


async def until(true: Callable[[], Awaitable[bool]], seconds: float, what: str, pause: float = 0.1) -> None:
    """Raises TimeoutError naming `what`."""
    deadline = time.monotonic() + seconds
    while not await true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"within {seconds:.0f} s it did not come true that {what}")
        await asyncio.sleep(pause)
