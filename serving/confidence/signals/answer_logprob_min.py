"""The token of the stated answer the model believed in least."""

from serving.confidence.evidence import Evidence


def answer_logprob_min(evidence: Evidence) -> float | None:
    """Lowest log-probability in the number behind the last "Answer:", nats; None where no number stands there."""
    stated = evidence.stated(evidence.logprobs)
    return min(stated) if stated else None
