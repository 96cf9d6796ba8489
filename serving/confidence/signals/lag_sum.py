"""How far the choice of tokens strayed in all from what the model held for best."""

from serving.confidence.evidence import Evidence


def lag_sum(evidence: Evidence) -> float | None:
    """Sum of the leads of the best alternatives over the chosen tokens, nats; nought in a greedy answer."""
    return sum(evidence.lags) if evidence.lags else None
