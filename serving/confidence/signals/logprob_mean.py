"""How probable the answer was, whatever its length."""

from serving.confidence.evidence import Evidence


def logprob_mean(evidence: Evidence) -> float | None:
    """Mean log-probability of a token, nats; minus the logarithm of the perplexity."""
    return sum(evidence.logprobs) / evidence.length if evidence.logprobs else None
