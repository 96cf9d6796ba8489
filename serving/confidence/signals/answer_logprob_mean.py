"""How probable the stated answer was to the model."""

from serving.confidence.evidence import Evidence


def answer_logprob_mean(evidence: Evidence) -> float | None:
    """Mean log-probability in the number behind the last "Answer:", nats; None where no number stands there."""
    stated = evidence.stated(evidence.logprobs)
    return sum(stated) / len(stated) if stated else None
