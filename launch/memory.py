"""Adds up what processes keep in memory: shared pages count for each (RSS) or are divided (PSS, on Linux)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import psutil

GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes over all processes together."""

    processes: int
    rss: int
    pss: int

    def __str__(self) -> str:
        return f"{self.processes} processes, {self.rss / GIB:.2f} GiB RSS, {self.pss / GIB:.2f} GiB PSS"


def measure(processes: Iterable[psutil.Process]) -> Memory:
    """Processes that end meanwhile are left out."""
    readings = []
    for process in processes:
        try:
            readings.append(process.memory_full_info())
        except psutil.Error:
            continue
    return Memory(len(readings), sum(each.rss for each in readings), sum(getattr(each, "pss", 0) for each in readings))
