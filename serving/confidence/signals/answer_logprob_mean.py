"""How probable the stated answer was to the model."""

from serving.confidence.evidence import Evidence


def answer_logprob_mean(evidence: Evidence) -> float | None:
    """Mean log-probability in the number behind the last "Answer:", nats; None where no number stands there."""
    return sum(evidence.answer) / len(evidence.answer) if evidence.answer else None
