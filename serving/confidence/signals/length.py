"""How long the answer is."""

import math

from serving.confidence.evidence import Evidence


def length(evidence: Evidence) -> float | None:
    """Logarithm of the number of tokens."""
    return math.log(evidence.length) if evidence.length else None
