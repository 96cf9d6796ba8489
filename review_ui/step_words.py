"""What the desk says of an answer's self-verified steps."""

from __future__ import annotations

from collections.abc import Sequence

from review_ui.inert import visible
from review_ui.reviews import Step, StepState

MARKS = {StepState.VALID: "✓", StepState.INVALID: "✗", StepState.UNKNOWN: "○"}
WORDS = {StepState.VALID: "right", StepState.INVALID: "wrong", StepState.UNKNOWN: "not checked"}
LIMIT = "A right step is a right calculation. Whether it is the one that the question asks for is yours to judge."


def state(step: Step) -> str:
    return f"{MARKS[step.state]} {WORDS[step.state]}"


def badge(step: Step, number: int) -> str:
    """Drawn in front of the step within the answer; only what is wrong is also told there in a word."""
    told = f" {WORDS[step.state]}" if step.state is StepState.INVALID else ""
    return f"{MARKS[step.state]} {number}{told}"


def told(step: Step, number: int) -> str:
    """For who points at it, or hears the page."""
    why = f" {visible(step.why)}" if step.why.strip() else ""
    return f"Step {number}: {WORDS[step.state]}.{why}"


def tally(steps: Sequence[Step]) -> str:
    """ "1 wrong, 2 right, 1 not checked"."""
    counts = {kind: sum(step.state is kind for step in steps) for kind in WORDS}
    order = (StepState.INVALID, StepState.VALID, StepState.UNKNOWN)
    return ", ".join(f"{counts[kind]} {WORDS[kind]}" for kind in order if counts[kind])
