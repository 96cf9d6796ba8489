"""How many steps are answered together: to wake the driver for each of the shortest would take a rank a third of them.

Whom a message wakes on another core is woken by who sends it. On virtual machines that took 180 microseconds, where a
step of one sequence takes 400. So the driver says of some plans that their answers may be kept: the rank tells them
with the next one, or when no plan waits for it any more.
"""

from __future__ import annotations

WINDOW = 0.002  # seconds; steps that take so long together are told together
MOST = 4  # steps


class Told:
    """For the driver of one gang; times are seconds on one clock."""

    def __init__(self) -> None:
        self.together = 1  # steps whose answers come at once
        self._kept = 0  # plans in a row whose answers may be kept
        self._answers = 0  # that have come since the last that were told
        self._began, self._told_at = 0.0, 0.0

    def may_keep(self) -> bool:
        """Of the next plan; its answer and those behind it come with that of the first of which this is False."""
        self._kept = self._kept + 1 if self._kept + 1 < self.together else 0
        return self._kept > 0

    def take(self, began: float, now: float, more: bool) -> float | None:
        """An answer has come, and `more` come with it; with the last of them, how long a step took, or None.

        `began`: when its step was sent.
        """
        self._answers += 1
        if self._answers == 1:
            self._began = began
        if more:
            return None
        seconds = (now - max(self._began, self._told_at)) / self._answers
        self._answers, self._told_at = 0, now
        self.together = max(1, min(MOST, int(WINDOW / seconds))) if seconds > 0 else 1
        return seconds
