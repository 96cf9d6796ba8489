"""How many steps self-verification found false."""

from serving.confidence.evidence import Evidence
from serving.confidence.self_verify.answer_step import is_of_the_answer


def steps_invalid(evidence: Evidence) -> float | None:
    """Equations that do not hold; the answer's own step is not among them.

    None where the check came to no end.
    """
    if evidence.steps is None:
        return None
    return float(sum(step.state == "invalid" and not is_of_the_answer(step) for step in evidence.steps))
