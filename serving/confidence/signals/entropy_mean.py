"""How undecided the model was on the whole."""

from serving.confidence.evidence import Evidence


def entropy_mean(evidence: Evidence) -> float | None:
    """Mean entropy of the next-token distribution, nats."""
    return sum(evidence.entropies) / evidence.length if evidence.entropies else None
