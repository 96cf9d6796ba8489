"""Adds up what processes keep in memory, with shared pages counted for each (RSS) and divided among them (PSS)."""

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
    return Memory(len(readings), sum(each.rss for each in readings), sum(each.pss for each in readings))
