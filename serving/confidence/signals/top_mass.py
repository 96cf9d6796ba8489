"""How much the model left, where it was least decided, to words far down its list."""

from serving.confidence.evidence import Evidence


def top_mass(evidence: Evidence) -> float | None:
    """Probability of the top alternatives together at the token whose best one is the least probable, 0 to 1."""
    return evidence.top_mass
