"""What a model said and how sure it is: the vocabulary that serving, storage and gateway share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

FinishReason = Literal["stop", "length", "content_filter", "error"]
StepState = Literal["valid", "invalid", "unknown"]


@dataclass(frozen=True, slots=True)
class TokenTrace:
    """One generated token with what the model knew when it chose it.

    Log-probabilities are natural logarithms of the model's own distribution, before temperature and top-p.
    """

    text: str
    token_id: int
    logprob: float
    top: tuple[tuple[str, float], ...] = ()  # the k most probable alternatives, best first
    entropy: float | None = None  # nats, over the whole vocabulary; None where only an upstream's logprobs arrive
    gate_entropy: float | None = None  # nats, mean over MoE layers of the gate's normalised scores


@dataclass(frozen=True, slots=True)
class PromptTrace:
    """How familiar the prompt was to the model; the clue that a question is foreign."""

    tokens: int
    mean_logprob: float | None  # over the tokens of message contents, role tokens left out
    min_window_logprob: float | None = None  # lowest mean over a window of 16 content tokens


class Signal(NamedTuple):
    """One measured clue. `value` is None where it could not be computed (missing is not zero).

    A tuple: each answer has some thirty, and frozen dataclasses take a tenth of the time that scoring may.
    """

    name: str
    value: float | None


@dataclass(frozen=True, slots=True)
class Step:
    """A stretch of an answer's text and what self-verification says of it."""

    start: int  # characters of the text: first, and one past the last
    end: int
    state: StepState
    why: str  # in words for the reviewer; empty where there is nothing to say


@dataclass(frozen=True, slots=True)
class Confidence:
    """The calibrated probability that the answer is right, or None when nothing vouches for it."""

    value: float | None  # in [0, 1]; None: unknown, so the answer is held
    calibration_id: str | None  # the calibration that made `value`
    calibrated: bool
    score: float | None = None  # fused score before calibration
    signals: tuple[Signal, ...] = ()
    domain: str | None = None
    note: str | None = None  # why `value` is None, in words for the reviewer
    samples: int = 0  # further answers that were drawn to compare this one with


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int
    completion_tokens: int

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole generation. `text` is the caller-visible content without special tokens."""

    text: str
    finish_reason: FinishReason
    tokens: tuple[TokenTrace, ...]
    prompt: PromptTrace
    confidence: Confidence
    usage: Usage
    model: str  # the checkpoint's name and content digest: "countersign-reference@1f0c…"
    replica: str = ""
    # By part: queue, prefill, decode, verification, confidence, samples.
    timings_ms: dict[str, float] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()  # as self-verification saw them, in the order of the text
    sampled: Usage = Usage(0, 0)  # what the samples read and wrote that this answer was compared with; not in `usage`


def answer_to_json(answer: Answer) -> dict[str, Any]:
    """The wire form; `answer_from_json` reads it back unchanged."""
    return {
        "text": answer.text,
        "finish_reason": answer.finish_reason,
        "tokens": [token_to_json(token) for token in answer.tokens],
        "prompt": {
            "tokens": answer.prompt.tokens,
            "mean_logprob": answer.prompt.mean_logprob,
            "min_window_logprob": answer.prompt.min_window_logprob,
        },
        "confidence": confidence_to_json(answer.confidence),
        "usage": usage_to_json(answer.usage),
        "model": answer.model,
        "replica": answer.replica,
        "timings_ms": answer.timings_ms,
        "steps": [[step.start, step.end, step.state, step.why] for step in answer.steps],
        "sampled": usage_to_json(answer.sampled),
    }


def answer_from_json(data: dict[str, Any]) -> Answer:
    """Raises KeyError or TypeError when a required field is missing or of another type."""
    return Answer(
        text=data["text"],
        finish_reason=data["finish_reason"],
        tokens=tuple(token_from_json(token) for token in data["tokens"]),
        prompt=PromptTrace(**data["prompt"]),
        confidence=confidence_from_json(data["confidence"]),
        usage=Usage(**data["usage"]),
        model=data["model"],
        replica=data.get("replica", ""),
        timings_ms=dict(data.get("timings_ms", {})),
        steps=tuple(Step(*row) for row in data.get("steps", ())),
        sampled=Usage(**data.get("sampled", {"prompt_tokens": 0, "completion_tokens": 0})),
    )


def usage_to_json(usage: Usage) -> dict[str, int]:
    return {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens}


def confidence_to_json(confidence: Confidence) -> dict[str, Any]:
    return {
        "value": confidence.value,
        "calibration_id": confidence.calibration_id,
        "calibrated": confidence.calibrated,
        "score": confidence.score,
        "signals": {signal.name: signal.value for signal in confidence.signals},
        "domain": confidence.domain,
        "note": confidence.note,
        "samples": confidence.samples,
    }


def confidence_from_json(data: dict[str, Any]) -> Confidence:
    return Confidence(
        value=data["value"],
        calibration_id=data["calibration_id"],
        calibrated=data["calibrated"],
        score=data.get("score"),
        signals=tuple(Signal(name, value) for name, value in data.get("signals", {}).items()),
        domain=data.get("domain"),
        note=data.get("note"),
        samples=data.get("samples", 0),
    )


def token_to_json(token: TokenTrace) -> list[Any]:
    return [
        token.text,
        token.token_id,
        token.logprob,
        [list(pair) for pair in token.top],
        token.entropy,
        token.gate_entropy,
    ]


def token_from_json(row: list[Any]) -> TokenTrace:
    text, token_id, logprob, top, entropy, gate_entropy = row
    return TokenTrace(text, token_id, logprob, tuple((t, p) for t, p in top), entropy, gate_entropy)
