"""How undecided the experts' gates were."""

from serving.confidence.evidence import Evidence


def gate_entropy_mean(evidence: Evidence) -> float | None:
    """Mean entropy of the gates' scores, nats; None for models without experts."""
    return sum(evidence.gate_entropies) / evidence.length if evidence.gate_entropies else None
