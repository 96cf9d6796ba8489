"""Whether the text ends in an answer that can be read."""

from serving.confidence.evidence import Evidence


def answer_found(evidence: Evidence) -> float:
    """1 where a number stands behind the last "Answer:", else 0."""
    return 1.0 if evidence.answer_found else 0.0
