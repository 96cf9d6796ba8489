"""What is asked of the engine and what it gives back."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal

from serving.answer import FinishReason, PromptTrace, TokenTrace, Usage
from serving.engine.errors import EngineError

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """Parameters left None take the checkpoint's defaults; a seed left None is drawn at random."""

    request_id: str
    messages: tuple[Message, ...]
    max_tokens: int | None = None
    temperature: float | None = None  # 0: greedy
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    top_logprobs: int = 5
    # Only requests of one salt use each other's cached prompts: whoever may not learn what another asked, which the
    # time to the first token tells, must come with another salt.
    cache_salt: str = ""


@dataclass(frozen=True, slots=True)
class Generated:
    """`text` is what the tokens' texts join to; the closing token is counted in `usage` and left out of `tokens`."""

    request_id: str
    text: str
    finish_reason: FinishReason
    tokens: tuple[TokenTrace, ...]
    prompt: PromptTrace
    usage: Usage
    rank: int  # which rank of each stage held the sequence
    reused_tokens: int = 0  # of the prompt: they were in that rank's cache already
    timings_ms: dict[str, float] = field(default_factory=dict)  # queue, prefill, decode


def resolve(future: Future[Generated], outcome: Generated | EngineError) -> None:
    """Tells the caller; one who has gone is told nothing."""
    if not future.set_running_or_notify_cancel():
        return
    if isinstance(outcome, EngineError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
