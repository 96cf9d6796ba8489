"""Tells by two tokens whether a version of vLLM measures what this backend takes it to measure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from serving.backends.vllm.flight import MalformedOutput, VllmToken

PROBE_PROMPT = [1, 2, 3]
PROBE: dict[str, Any] = {
    "temperature": 0.0,
    "max_tokens": 2,
    "logprobs": -1,  # all of them, but for the place that the entropy takes
    "prompt_logprobs": 0,
    "ignore_eos": True,
    "flat_logprobs": True,
    "detokenize": False,
}
_DIFFERENCE = 1e-2  # nats, between the entropy that was measured and that of the distribution beside it


def check_probe(tokens: Sequence[VllmToken], prompt: tuple[float, ...]) -> None:
    """Tokens with all alternatives but the least probable one. Raises MalformedOutput."""
    if len(tokens) != 2 or len(prompt) != 2 or not all(math.isfinite(logprob) for logprob in prompt):
        raise MalformedOutput(
            f"{len(tokens)} tokens and {len(prompt)} of the prompt's where two of each were asked for"
        )
    for token in tokens:
        _, entropy, *best = token.logprobs
        rest = max(0.0, 1.0 - sum(map(math.exp, best)))
        expected = -sum(math.exp(logprob) * logprob for logprob in best if math.isfinite(logprob))
        expected -= rest * math.log(rest) if rest else 0.0
        if not abs(entropy - expected) <= _DIFFERENCE:
            raise MalformedOutput(f"an entropy of {entropy:.4f} where the distribution has {expected:.4f}")
        if token.ids[0] != token.token_id or token.ids[2] != token.token_id or sorted(best, reverse=True) != best:
            raise MalformedOutput("a greedy token that is not the first of its alternatives")
