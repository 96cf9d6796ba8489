"""How many steps self-verification could neither confirm nor refute."""

from serving.confidence.evidence import Evidence
from serving.confidence.self_verify.answer_step import is_of_the_answer


def steps_unknown(evidence: Evidence) -> float | None:
    """Equations that could not be read, or may be true as they are meant; the answer's own step is not among them.

    None where the check came to no end.
    """
    if evidence.steps is None:
        return None
    return float(sum(step.state == "unknown" and not is_of_the_answer(step) for step in evidence.steps))
