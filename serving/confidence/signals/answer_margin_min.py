"""How close another answer came to the stated one."""

from serving.confidence.evidence import Evidence


def answer_margin_min(evidence: Evidence) -> float | None:
    """Lowest lead of the best alternative within the number behind the last "Answer:", nats; None where none stands there."""
    stated = evidence.stated(evidence.margins)
    return min(stated) if stated else None
