"""The passage the model believed in least."""

from itertools import accumulate
from operator import sub

from serving.confidence.evidence import Evidence

WINDOW = 8  # tokens


def logprob_lowest_window(evidence: Evidence) -> float | None:
    """Lowest mean log-probability over any WINDOW neighbouring tokens, nats; over all of them when there are fewer."""
    if not evidence.logprobs:
        return None
    if evidence.length <= WINDOW:
        return sum(evidence.logprobs) / evidence.length
    sums = list(accumulate(evidence.logprobs, initial=0.0))
    lowest: float = min(map(sub, sums[WINDOW:], sums))
    return lowest / WINDOW
