"""How far ahead of its runner-up a token was on the whole."""

from serving.confidence.evidence import Evidence


def margin_mean(evidence: Evidence) -> float | None:
    """Mean difference of log-probability between the two best alternatives of a token, nats."""
    return sum(evidence.margins) / evidence.length if evidence.margins else None
