"""How probable the whole answer was to the model."""

from serving.confidence.evidence import Evidence


def logprob_sum(evidence: Evidence) -> float | None:
    """Sum of the tokens' log-probabilities, nats."""
    return sum(evidence.logprobs) if evidence.logprobs else None
