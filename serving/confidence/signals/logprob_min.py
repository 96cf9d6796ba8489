"""The single token the model believed in least."""

from serving.confidence.evidence import Evidence


def logprob_min(evidence: Evidence) -> float | None:
    """Lowest log-probability, nats."""
    return min(evidence.logprobs) if evidence.logprobs else None
