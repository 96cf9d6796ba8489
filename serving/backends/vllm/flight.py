"""One generation at vLLM: what was asked, what came so far, and what it becomes when it ends."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from serving.answer import FinishReason, TokenTrace, Usage
from serving.engine.generation import Generated, GenerationRequest
from serving.engine.plan import Sampling
from serving.engine.prompt import Prompt, trace_prompt
from serving.engine.text import TextStream
from serving.engine.vocabulary import Vocabulary


class MalformedOutput(Exception):
    """vLLM gave something else than was asked for: this version of it is not the one that was tried."""


@dataclass(frozen=True, slots=True)
class VllmToken:
    """A token as vLLM tells it: column 0 is the chosen token, 1 the entropy, the others the best ones, best first."""

    token_id: int
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class VllmOutput:
    """What came since the last one."""

    tokens: tuple[VllmToken, ...]
    finish_reason: str | None  # stop, length, abort or error
    prompt_logprobs: tuple[float, ...] | None  # of the prompt's second token and all after it; comes once
    reused_tokens: int  # of the prompt, found in the cache
    scheduled_at: float | None = None  # on time.monotonic()'s clock


@dataclass(slots=True, eq=False)
class VllmFlight:
    request: GenerationRequest
    prompt: Prompt
    sampling: Sampling
    max_tokens: int
    ending: frozenset[int]
    vocabulary: Vocabulary
    stream: TextStream = field(init=False)
    future: Future[Generated] = field(default_factory=Future)
    submitted_at: float = field(default_factory=time.monotonic)
    started_at: float | None = None
    first_token_at: float | None = None
    reused: int = 0
    drawn: int = 0  # tokens, the closing one included
    reason: FinishReason | None = None  # set by the last token
    _prompt_logprobs: tuple[float, ...] = ()
    _taken: list[VllmToken] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stream = TextStream(self.request.stop)

    def take(self, output: VllmOutput) -> bool:
        """Whether it was the last one wanted. Raises MalformedOutput."""
        if output.prompt_logprobs:
            self._prompt_logprobs, self.reused = output.prompt_logprobs, output.reused_tokens
        if output.tokens and self.first_token_at is None:
            self.first_token_at = time.monotonic()
            self.started_at = min(output.scheduled_at or self.first_token_at, self.first_token_at)
        for token in output.tokens:
            self._take_token(token)
            if self.reason is not None:
                return True
        if output.finish_reason in ("abort", "error"):
            raise MalformedOutput(f"it ended a generation by itself: {output.finish_reason}")
        if output.finish_reason is not None:  # for a reason that we had not seen coming
            self.reason = "length"
        return self.reason is not None

    def result(self) -> Generated:
        """The model's gate is not looked at: its entropy is missing, not zero."""
        self.stream.finish()
        wanted = self.request.top_logprobs
        traces = tuple(
            TokenTrace(
                text=piece,
                token_id=token.token_id,
                logprob=token.logprobs[0],
                top=tuple(
                    (self.vocabulary.shown(number), logprob)
                    for number, logprob in zip(token.ids[2 : 2 + wanted], token.logprobs[2 : 2 + wanted], strict=True)
                ),
                entropy=max(0.0, token.logprobs[1]),
            )
            for piece, token in zip(self.stream.pieces, self._taken, strict=False)
        )
        return Generated(
            request_id=self.request.request_id,
            text=self.stream.text,
            finish_reason="stop" if self.stream.stopped else self.reason or "length",
            tokens=traces,
            prompt=trace_prompt(len(self.prompt.ids), self._content_logprobs()),
            usage=Usage(len(self.prompt.ids), self.drawn),
            rank=0,
            reused_tokens=self.reused,
            timings_ms=self._timings(),
        )

    def _take_token(self, token: VllmToken) -> None:
        columns = self.request.top_logprobs + 2
        if len(token.ids) < columns or len(token.logprobs) < columns or token.ids[0] != token.token_id:
            raise MalformedOutput(f"{len(token.ids)} log-probabilities of a token where {columns} were asked for")
        self.drawn += 1
        if token.token_id in self.ending:
            self.reason = "stop"
            return
        self._taken.append(token)
        self.stream.add(self.vocabulary.bytes_of(token.token_id))
        if self.stream.stopped:
            self.reason = "stop"
        elif self.drawn >= self.max_tokens:
            self.reason = "length"

    def _content_logprobs(self) -> Sequence[float]:
        """Of the contents' tokens; the very first token of a prompt has none."""
        known = (math.nan, *self._prompt_logprobs)
        if len(known) != len(self.prompt.ids):
            return ()
        return [known[place] for place, content in enumerate(self.prompt.content) if content and place]

    def _timings(self) -> dict[str, float]:
        now = time.monotonic()
        started = self.started_at or now
        first = self.first_token_at or now
        spans = {"queue": started - self.submitted_at, "prefill": first - started, "decode": now - first}
        return {name: round(1000 * max(0.0, seconds), 3) for name, seconds in spans.items()}
