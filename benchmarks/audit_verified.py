"""Runs the verifier as an auditor does, as a process of its own, and measures its time and its memory."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

_LOOK_EVERY = 0.02  # seconds
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)  # of this program alone: a child's rusage has its parent's too


class NotIntact(Exception):
    """The verifier did not find a log intact that nobody has altered."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A log that was found intact."""

    events: int
    seconds: float
    peak_mb: float | None  # resident, 10^6 bytes; None where the system does not tell (it is Linux that does)


def verify(url: str, key: Path, outside: Path) -> Verified:
    """Raises NotIntact."""
    command = [sys.executable, "-m", "verifier", "log", url, "--key", str(key), "--checkpoints", str(outside), "--json"]
    with TemporaryFile("w+") as told:
        started, peak = time.monotonic(), None
        process = subprocess.Popen(command, stdout=told)  # noqa: S603  # our own
        try:
            while process.poll() is None:
                peak = _peak_mb(process.pid) or peak
                time.sleep(_LOOK_EVERY)
        finally:
            process.kill()
            process.wait()
        seconds = time.monotonic() - started
        told.seek(0)
        report = told.read()
    if process.returncode:
        raise NotIntact(f"The verifier ended with {process.returncode}: {report[-2000:]}")
    return Verified(int(json.loads(report)["events"]), seconds, peak)


def _peak_mb(pid: int) -> float | None:
    """The most that the process ever had; None once it has ended."""
    try:
        found = _PEAK.search(Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return None
    return None if found is None else round(int(found[1]) * 1024 / 1e6, 1)
