"""Why a check came to no end, in words for the reviewer: then nothing is known of an answer's steps, not even which."""

from __future__ import annotations

from collections.abc import Sequence

from serving.answer import Step

TOO_SLOW = "The check took too long and was stopped."
BUSY = "Other answers were being checked; this one was not."
DIED = "The check broke off."
_WHYS = frozenset({TOO_SLOW, BUSY, DIED})


def came_to_an_end(steps: Sequence[Step]) -> bool:
    """Whether all of the answer was looked at."""
    return not any(step.why in _WHYS for step in steps)
