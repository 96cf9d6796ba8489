"""Whether the model ended its answer by itself."""

from serving.confidence.evidence import Evidence


def finished(evidence: Evidence) -> float:
    """1 where the answer came to its own end, 0 where it was cut off."""
    return 1.0 if evidence.finish_reason == "stop" else 0.0
