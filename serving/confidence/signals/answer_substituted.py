"""Whether the answer holds when it is put back into the question."""

from serving.confidence.evidence import Evidence
from serving.confidence.self_verify.answer_step import was_put_back

_VALUES = {"valid": 1.0, "invalid": 0.0}


def answer_substituted(evidence: Evidence) -> float | None:
    """1 where it does, 0 where it does not, None where the question holds no formula or the check came to no end."""
    return _VALUES.get(was_put_back(evidence.steps or ()) or "")
