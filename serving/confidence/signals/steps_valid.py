"""How many steps self-verification found true."""

from serving.confidence.evidence import Evidence
from serving.confidence.self_verify.answer_step import is_of_the_answer


def steps_valid(evidence: Evidence) -> float | None:
    """Equations that hold; the answer's own step is not among them.

    None where the check came to no end.
    """
    if evidence.steps is None:
        return None
    return float(sum(step.state == "valid" and not is_of_the_answer(step) for step in evidence.steps))
