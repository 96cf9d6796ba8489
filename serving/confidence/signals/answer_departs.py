"""Whether the answer is another number than the last step came to."""

from serving.confidence.evidence import Evidence
from serving.confidence.self_verify.answer_step import departs


def answer_departs(evidence: Evidence) -> float | None:
    """1 where it is, else 0. Looked at only where the answer cannot be put back into the question.

    None where the check came to no end.
    """
    if evidence.steps is None:
        return None
    return 1.0 if departs(evidence.steps) else 0.0
