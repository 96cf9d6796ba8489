"""Waits for what another process counts in shared memory: at first without a pause, then for a moment at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from serving.experts.exchange import ExchangeVoid

YIELDS = 200  # then sleep
_FIRST_SLEEP, _LONGEST_SLEEP = 20e-6, 200e-6  # seconds


def reaches(
    counters: memoryview[int],
    place: int,
    wanted: int,
    deadline: float,
    is_void: Callable[[], bool],
    spins: int = 0,
    yields: int = YIELDS,
) -> bool:
    """Whether `counters[place]` comes to `wanted` before the deadline, on time.perf_counter()'s clock.

    It is looked at `spins` times, then `yields` times between which others have this process's core: for who may share
    it with the one it waits for. Raises ExchangeVoid once `is_void` says that nobody needs it any more.
    """
    for _ in range(spins):
        if counters[place] >= wanted:
            return True
    for _ in range(yields):
        if counters[place] >= wanted:
            return True
        os.sched_yield()
    pause = _FIRST_SLEEP
    while counters[place] < wanted:
        if time.perf_counter() > deadline:
            return False
        if is_void():
            raise ExchangeVoid
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_SLEEP)
    return True
