"""How far two backends' answers to the same question are apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from serving.answer import PromptTrace, TokenTrace, Usage, token_from_json, token_to_json, usage_to_json
from serving.engine.generation import Generated

CLEAR = 1e-3  # nats between the two best tokens; nearer ones may change places
TOLERANCE = 1e-3  # nats


@dataclass(frozen=True, slots=True)
class Differences:
    """The largest, in nats."""

    tokens_equal: bool  # as far as the best was clearly the best
    tokens: int  # compared
    logprob: float
    top: float
    entropy: float
    prompt: float

    @property
    def within(self) -> bool:
        return self.tokens_equal and max(self.logprob, self.top, self.entropy, self.prompt) <= TOLERANCE


def differences(ours: Sequence[Generated], theirs: Sequence[Generated]) -> Differences:
    """Answers are compared up to the first token that was no clear choice."""
    pairs = list(zip(ours, theirs, strict=True))
    compared = [pair for own, other in pairs for pair in _while_clear(own.tokens, other.tokens)]
    equal = all(own.token_id == other.token_id for own, other in compared)
    return Differences(
        tokens_equal=equal and len(compared) > 0,
        tokens=len(compared),
        logprob=max((abs(own.logprob - other.logprob) for own, other in compared), default=float("inf")),
        top=max((_top_difference(own, other) for own, other in compared), default=float("inf")),
        entropy=max((abs((own.entropy or 0.0) - (other.entropy or 0.0)) for own, other in compared), default=0.0),
        prompt=max(_prompt_difference(own, other) for own, other in pairs),
    )


def _while_clear(ours: Sequence[TokenTrace], theirs: Sequence[TokenTrace]) -> list[tuple[TokenTrace, TokenTrace]]:
    pairs = []
    for own, other in zip(ours, theirs, strict=False):
        if len(own.top) > 1 and own.top[0][1] - own.top[1][1] < CLEAR:
            break
        pairs.append((own, other))
        if own.token_id != other.token_id:
            break
    return pairs


def _top_difference(own: TokenTrace, other: TokenTrace) -> float:
    """Of the k-th best log-probabilities; which token has it may change where two are equal."""
    if len(own.top) != len(other.top):
        return float("inf")
    return max((abs(a - b) for (_, a), (_, b) in zip(own.top, other.top, strict=True)), default=0.0)


def _prompt_difference(own: Generated, other: Generated) -> float:
    pairs = (
        (own.prompt.mean_logprob, other.prompt.mean_logprob),
        (own.prompt.min_window_logprob, other.prompt.min_window_logprob),
    )
    return max(float("inf") if a is None or b is None else abs(a - b) for a, b in pairs)


def generated_to_json(generated: Generated) -> dict[str, Any]:
    """What is compared of it, for another process."""
    prompt = generated.prompt
    return {
        "request_id": generated.request_id,
        "text": generated.text,
        "finish_reason": generated.finish_reason,
        "tokens": [token_to_json(token) for token in generated.tokens],
        "prompt": [prompt.tokens, prompt.mean_logprob, prompt.min_window_logprob],
        "usage": usage_to_json(generated.usage),
        "timings_ms": generated.timings_ms,
    }


def generated_from_json(data: dict[str, Any]) -> Generated:
    return Generated(
        request_id=data["request_id"],
        text=data["text"],
        finish_reason=data["finish_reason"],
        tokens=tuple(token_from_json(row) for row in data["tokens"]),
        prompt=PromptTrace(*data["prompt"]),
        usage=Usage(**data["usage"]),
        rank=0,
        timings_ms=data["timings_ms"],
    )
