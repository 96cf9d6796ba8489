"""How many further answers to the same question say the same."""

from serving.confidence.canonical import agreement_of
from serving.confidence.evidence import Evidence


def agreement(evidence: Evidence) -> float | None:
    """Share of the samples whose answer is the released one, as `canonical` compares them; None without samples."""
    return agreement_of(evidence.text, evidence.samples)
