"""The tenth of the tokens the model believed in least."""

from serving.confidence.evidence import Evidence


def logprob_bottom_tenth(evidence: Evidence) -> float | None:
    """Mean of the lowest tenth of the log-probabilities (at least one), nats."""
    if not evidence.logprobs:
        return None
    count = max(1, evidence.length // 10)
    return sum(sorted(evidence.logprobs)[:count]) / count
