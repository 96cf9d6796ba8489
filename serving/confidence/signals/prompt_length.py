"""How long the question is."""

import math

from serving.confidence.evidence import Evidence


def prompt_length(evidence: Evidence) -> float | None:
    """Logarithm of the prompt's number of tokens."""
    return math.log(evidence.prompt.tokens) if evidence.prompt.tokens > 0 else None
