"""How sure the model was when it came to an end."""

from serving.confidence.evidence import Evidence

TAIL = 8  # tokens


def logprob_tail(evidence: Evidence) -> float | None:
    """Mean log-probability of the last TAIL tokens, nats."""
    if not evidence.logprobs:
        return None
    tail = evidence.logprobs[-TAIL:]
    return sum(tail) / len(tail)
