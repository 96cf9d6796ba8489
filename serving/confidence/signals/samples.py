"""How many further answers there are to compare with."""

from serving.confidence.evidence import Evidence


def samples(evidence: Evidence) -> float:
    """Number of samples."""
    return float(len(evidence.samples))
