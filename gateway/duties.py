"""Knows when each of a worker's duties is due, and puts off one that fails without keeping the others from theirs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 5.0  # what was away may be back, and answers wait for it


@dataclass(slots=True)
class Duty:
    """Something done again and again; times are seconds of a monotonic clock."""

    name: str
    do: Callable[[], float]  # returns the seconds after which it is due again
    pause: float = FIRST_PAUSE_SECONDS  # after its next failure
    due_at: float = 0.0
    _failures: int = 0  # since it last succeeded

    def perform(self, clock: Callable[[], float]) -> None:
        """Raises what `do` raises; then it is to be put off."""
        seconds = self.do()
        self.due_at = clock() + seconds
        self._failures = 0

    def put_off(self, at: float) -> None:
        """Twice as long after each failure in a row, up to LONGEST_PAUSE_SECONDS where it began below."""
        longest = max(self.pause, LONGEST_PAUSE_SECONDS)
        self.due_at = at + min(longest, self.pause * 2 ** min(self._failures, 16))
        self._failures += 1
