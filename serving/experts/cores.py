"""Which of the processors a rank runs on: none that another rank of its gang has, as long as there are enough.

Ranks wait for each other many times in a step. Left to the system they came to share one core of two, each at work
while the other waited, and two ranks were as slow as one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from serving.experts.placement import even_bounds

_log = logging.getLogger(__name__)
AVAILABLE = tuple(sorted(os.sched_getaffinity(0)))  # before a rank of this process has taken a place


def cores_of(number: int, places: int, available: Sequence[int]) -> set[int]:
    """Those of place `number` of `places`: an equal run of neighbours, or one of them where there are fewer."""
    if places > len(available):
        return {available[number % len(available)]}
    bounds = even_bounds(len(available), places)
    return set(available[bounds[number] : bounds[number + 1]])


def keep_to_own_cores(number: int, places: int) -> bool:
    """This thread, and those that it starts from now on; whether no other rank of its gang has them.

    Only speed depends on it: where the system refuses, that is told, and all goes on.
    """
    if places == 1:
        return True
    try:
        os.sched_setaffinity(0, cores_of(number, places, AVAILABLE))
    except OSError as error:
        _log.warning("ranks share all cores, for they cannot keep to their own: %s", error)
        return False
    return places <= len(AVAILABLE)
