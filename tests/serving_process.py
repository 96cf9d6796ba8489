"""Starts a real serving application, ports and home of its own, as a process, and stops it again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import httpx2

from serving.ports import free_port
from serving.processes import RUN_VARIABLE, family

START_SECONDS = 180.0  # a bound for a crowded machine, not an expectation
TOKEN = "serving-token-of-the-tests"


@dataclass
class RunningServing:
    """A serving application that is ready."""

    process: subprocess.Popen[str]
    base_url: str
    home: Path
    token: str = TOKEN
    steps: list[dict[str, Any]] = field(default_factory=list)  # the lines it printed, in order

    def client(self, **options: Any) -> httpx2.Client:
        """A client that presents the token."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx2.Client(base_url=self.base_url, headers=headers, timeout=60, **options)

    @property
    def run(self) -> str:
        """What every process of this application carries in COUNTERSIGN_SERVING_RUN."""
        note = next((self.home / "ray").glob("run-*.json"))
        return str(json.loads(note.read_text())["temp"])

    def processes(self) -> list[Any]:
        """Every process that the start process started, living now."""
        return list(family(self.run))


def serving_environment(home: Path, port: int, **settings: object) -> dict[str, str]:
    """The environment of a start; `settings` as COUNTERSIGN_* names in lower case without the prefix."""
    own = {"home": home, "port": port, "serving_token": TOKEN, **settings}
    foreign = ("COUNTERSIGN_", "RAY_", RUN_VARIABLE)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return environment | {f"COUNTERSIGN_{name.upper()}": str(value) for name, value in own.items()}


@contextmanager
def running_serving(home: Path, **settings: object) -> Iterator[RunningServing]:
    """Yields when it is ready, e.g. `running_serving(tmp_path, replicas=2, ranks=2)`; raises with its output if not."""
    port = free_port()
    home.mkdir(parents=True, exist_ok=True)
    with open(home / "start.err", "w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving.start"],
            env=serving_environment(home, port, **settings),
            cwd=Path(__file__).resolve().parent.parent,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        serving = RunningServing(process, f"http://127.0.0.1:{port}", home)
        watchdog = threading.Timer(START_SECONDS, process.kill)
        watchdog.start()
        try:
            _read_until_ready(serving, errors)
            watchdog.cancel()
            yield serving
        finally:
            watchdog.cancel()
            stop(process)


def stop(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout:
        process.stdout.close()


def _read_until_ready(serving: RunningServing, errors: IO[str]) -> None:
    for line in serving.process.stdout or ():
        serving.steps.append(json.loads(line))
        if serving.steps[-1]["step"] == "ready":
            return
    serving.process.wait()
    errors.seek(0)
    raise RuntimeError(f"serving did not become ready; steps {serving.steps}; stderr:\n{errors.read()[-4000:]}")


@contextmanager
def stopped_ranks(serving: RunningServing) -> Iterator[None]:
    """While it lasts no generation makes progress, so what was asked is surely in flight."""
    ranks = [process for process in serving.processes() if "ray::Rank" in " ".join(process.cmdline())]
    for rank in ranks:
        rank.suspend()
    try:
        yield
    finally:
        for rank in ranks:
            if rank.is_running():
                rank.resume()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("it did not happen within a minute")
        time.sleep(0.05)
