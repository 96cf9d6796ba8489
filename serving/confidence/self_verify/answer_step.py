"""How the step about the stated answer is told from the steps about equations: by the words that it begins with."""

from __future__ import annotations

from collections.abc import Sequence

from serving.answer import Step, StepState

PUT_BACK = "Put back into the question"
DEPARTS = "The last step gave"


def is_of_the_answer(step: Step) -> bool:
    return step.why.startswith((PUT_BACK, DEPARTS))


def was_put_back(steps: Sequence[Step]) -> StepState | None:
    """What putting the answer back showed; None where that could not be tried."""
    return next((step.state for step in reversed(steps) if step.why.startswith(PUT_BACK)), None)


def departs(steps: Sequence[Step]) -> bool:
    """Whether the answer is not what the last equation came to."""
    return any(step.why.startswith(DEPARTS) for step in steps)
