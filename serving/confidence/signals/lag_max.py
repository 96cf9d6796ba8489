"""How far the choice of a token ever strayed from what the model held for best."""

from serving.confidence.evidence import Evidence


def lag_max(evidence: Evidence) -> float | None:
    """Largest lead of the best alternative over the chosen token, nats; nought in a greedy answer."""
    return max(evidence.lags) if evidence.lags else None
