"""Starts the real dashboard as a process of its own, as `./run up` does."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from launch.ports import free_ports

READY_SECONDS = 60.0


@dataclass
class Dashboard:
    """One dashboard process; `stop` and `start` again on the same port."""

    gateway_url: str
    port: int
    log: Path
    undo_seconds: float = 0.0
    dwell_seconds: float = 0.0
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        environment = {
            **os.environ,
            "COUNTERSIGN_GATEWAY_URL": self.gateway_url,
            "COUNTERSIGN_HOST": "127.0.0.1",
            "COUNTERSIGN_PORT": str(self.port),
            "COUNTERSIGN_UNDO_SECONDS": str(self.undo_seconds),
            "COUNTERSIGN_DWELL_SECONDS": str(self.dwell_seconds),
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "review_ui.start"], env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        self._wait_ready()

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=10)
        self.process = None

    def _wait_ready(self) -> None:
        give_up = time.monotonic() + READY_SECONDS
        while time.monotonic() < give_up:
            if self.process is None or self.process.poll() is not None:
                break
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=2) as answer,
            ):
                if answer.status == 200:
                    return
            time.sleep(0.1)
        raise RuntimeError(f"The dashboard did not start:\n{self.log.read_text()[-2000:]}")


@contextlib.contextmanager
def dashboard(gateway_url: str, *, undo_seconds: float = 0.0, dwell_seconds: float = 0.0) -> Iterator[Dashboard]:
    with tempfile.TemporaryDirectory() as folder:
        one = Dashboard(gateway_url, free_ports(1)[0], Path(folder) / "dashboard.log", undo_seconds, dwell_seconds)
        one.start()
        try:
            yield one
        finally:
            one.stop()
