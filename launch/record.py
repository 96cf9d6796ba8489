"""Remembers on disk which processes a launch started, so that what a killed launch left behind is found and ended."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from launch.children import end_processes, has_mark
from launch.errors import CannotStart

_START_TOLERANCE = 1.0  # seconds by which two readings of a process's start time may differ


@dataclass(frozen=True, slots=True)
class LaunchRecord:
    """The file `launch.json` in the home: who launched, under which mark, and every process seen since."""

    path: Path

    def claim(self, mark: str) -> None:
        """Take the home for this launch. Raises CannotStart when another launch of the same home is running."""
        earlier = self._read()
        launcher = earlier.get("launcher")
        if launcher and (owner := _same(launcher)) and owner.pid != os.getpid():
            raise CannotStart(
                f"Countersign is already running from {self.path.parent} (process {owner.pid}): "
                "stop it with Ctrl-C there, or choose another COUNTERSIGN_HOME."
            )
        self.end_leftovers()
        self.write(mark, ())

    def write(self, mark: str, processes: Iterable[psutil.Process]) -> None:
        body = {
            "mark": mark,
            "launcher": _identity(psutil.Process()),
            "processes": [each for process in processes if (each := _identity(process))],
        }
        draft = self.path.with_suffix(".new")
        draft.write_text(json.dumps(body))
        draft.replace(self.path)

    def end_leftovers(self) -> int:
        """Kill what an earlier launch left behind; how many processes there were."""
        earlier = self._read()
        if not earlier:
            return 0
        recorded = list(earlier.get("processes", []))
        mark = str(earlier.get("mark", ""))
        found = _leftovers(recorded, mark)
        end_processes(lambda: _leftovers(recorded, mark), grace=0)
        self.forget()
        return len(found)

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        try:
            body = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}
        return body if isinstance(body, dict) else {}


def _leftovers(recorded: list[dict[str, float]], mark: str) -> list[psutil.Process]:
    """By recorded pid and start time (pids are used again), and by the launch's mark in the environment."""
    found = {process.pid: process for each in recorded if (process := _same(each))}
    if mark:
        found |= {process.pid: process for process in psutil.process_iter() if has_mark(process, mark)}
    found.pop(os.getpid(), None)
    return list(found.values())


def _identity(process: psutil.Process) -> dict[str, float] | None:
    try:
        return {"pid": process.pid, "started": process.create_time()}
    except psutil.Error:
        return None


def _same(recorded: object) -> psutil.Process | None:
    """The live process that was recorded, or None when it is gone or its pid belongs to another one now."""
    if not isinstance(recorded, dict):
        return None
    try:
        process = psutil.Process(int(recorded["pid"]))
        if abs(process.create_time() - float(recorded["started"])) > _START_TOLERANCE:
            return None
        return process if process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.Error, KeyError, TypeError, ValueError):
        return None
