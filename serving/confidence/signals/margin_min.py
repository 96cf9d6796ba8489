"""How close the runner-up ever came."""

from serving.confidence.evidence import Evidence


def margin_min(evidence: Evidence) -> float | None:
    """Lowest difference of log-probability between the two best alternatives of a token, nats."""
    return min(evidence.margins) if evidence.margins else None
