"""How undecided the model was over the answer it stated."""

from serving.confidence.evidence import Evidence


def answer_entropy_max(evidence: Evidence) -> float | None:
    """Highest entropy within the number behind the last "Answer:", nats; None where no number stands there."""
    stated = evidence.stated(evidence.entropies)
    return max(stated) if stated else None
