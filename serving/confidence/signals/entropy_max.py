"""How undecided the model was at its worst moment."""

from serving.confidence.evidence import Evidence


def entropy_max(evidence: Evidence) -> float | None:
    """Highest entropy of a next-token distribution, nats."""
    return max(evidence.entropies) if evidence.entropies else None
