"""How close another answer came to the stated one."""

from serving.confidence.evidence import Evidence


def answer_margin_min(evidence: Evidence) -> float | None:
    """Lowest margin within the number behind the last "Answer:", nats; None where no number stands there."""
    stated = evidence.stated(evidence.margins)
    return min(stated) if stated else None
