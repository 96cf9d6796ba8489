"""Starts the product's processes so that none can outlive the launch, and stops every one of them."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK = "COUNTERSIGN_LAUNCH"  # in every descendant's environment: how an orphan is recognised
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LINUX = sys.platform == "linux"
_libc = ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> None:
    """Grandchildren whose parent dies become ours instead of init's, so they can be found and stopped (Linux)."""
    if _LINUX:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end_with_parent() -> None:
    """Runs in the child before exec: SIGTERM when the launching thread ends, however it ends (Linux)."""
    if _LINUX:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Child:
    """One process of the product, leader of a session of its own (so a terminal's Ctrl-C does not reach it)."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    log_start: int  # where this start's lines begin in the log, in bytes

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def tail(self, lines: int = 12) -> tuple[str, ...]:
        """The last lines that this start has written."""
        with self.log.open("rb") as log:
            log.seek(self.log_start)
            text = log.read()[-20_000:].decode(errors="replace")
        return tuple(line for line in text.splitlines() if line.strip())[-lines:]


def start_child(name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> Child:
    """Starts it with its output in `log`. Call from the main thread: the child ends with the thread that made it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        begin = output.tell()
        process = subprocess.Popen(  # noqa: S603 - commands of our own, no shell
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    return Child(name, process, log, begin)


def family(children: Iterable[Child], mark: str) -> list[psutil.Process]:
    """Every live process of the launch: the children, their descendants, and orphans by session or mark."""
    sessions = {child.pid for child in children}
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        if process.pid in sessions or _session(process.pid) in sessions or has_mark(process, mark):
            for member in (process, *_descendants(process)):
                found[member.pid] = member
    found.pop(os.getpid(), None)
    return [process for process in found.values() if _lives(process)]


def end_processes(processes: Callable[[], list[psutil.Process]], grace: float) -> list[psutil.Process]:
    """Waits up to `grace` seconds for all to end, then kills; asks `processes` anew, so late forks are seen.

    Returns those that still live after SIGKILL, which should be none.
    """
    deadline = time.monotonic() + grace
    while (alive := processes()) and time.monotonic() < deadline:
        _wait(alive, 0.1)
    for _ in range(50):
        if not (alive := processes()):
            return []
        for process in alive:
            _signal(process, signal.SIGKILL)
        _wait(alive, 0.2)
    return processes()


def ask_to_end(child: Child) -> None:
    """SIGTERM to the leader only: each part stops its own workers in order."""
    if child.alive:
        child.process.terminate()


def has_mark(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(MARK) == mark
    except (psutil.Error, OSError):
        return False


def _wait(processes: list[psutil.Process], seconds: float) -> None:
    psutil.wait_procs(processes, timeout=seconds)  # also reaps those that became ours


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.Error:
        return
