"""How many steps self-verification found true."""

from serving.confidence.evidence import Evidence
from serving.confidence.self_verify.answer_step import is_of_the_answer


def steps_valid(evidence: Evidence) -> float:
    """Equations that hold; the answer's own step is not among them."""
    return float(sum(step.state == "valid" and not is_of_the_answer(step) for step in evidence.steps))
