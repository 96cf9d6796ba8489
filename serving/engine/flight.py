"""One generation in flight: what was asked, what came so far, and what it becomes when it ends."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass, field

from serving.answer import FinishReason, TokenTrace, Usage
from serving.engine.generation import Generated, GenerationRequest
from serving.engine.plan import NO_TARGET, Choice, Floats, Sampling, SequenceStep
from serving.engine.prompt import Prompt, trace_prompt
from serving.engine.scheduler import Sequence, Turn
from serving.engine.text import TextStream
from serving.engine.vocabulary import Vocabulary


@dataclass(slots=True, eq=False)
class Flight:
    request: GenerationRequest
    prompt: Prompt
    sampling: Sampling
    max_tokens: int
    sequence: Sequence
    stream: TextStream
    future: Future[Generated] = field(default_factory=Future)
    submitted_at: float = field(default_factory=time.monotonic)
    started_at: float | None = None
    first_token_at: float | None = None
    drawn: int = 0  # tokens, the closing one included
    choices: list[Choice] = field(default_factory=list)
    prompt_logprobs: list[float] = field(default_factory=list)
    ids: list[int] = field(init=False)
    targets: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.ids = list(self.prompt.ids)
        self.targets = self.prompt.targets()

    def plan(self, turn: Turn, block_size: int) -> SequenceStep:
        if self.started_at is None:
            self.started_at = time.monotonic()
        end = turn.start + turn.count
        return SequenceStep(
            tokens=self.ids[turn.start : end],
            start=turn.start,
            blocks=self.sequence.blocks[: -(-end // block_size)],
            sampled=turn.draws,
            draw=self.drawn,
            sampling=self.sampling,
            targets=self.targets[turn.start : end] if end <= len(self.targets) else None,
        )

    def take_prompt_logprobs(self, turn: Turn, logprobs: Floats) -> None:
        """`logprobs` [turn.count], NaN where nothing was asked."""
        asked = self.targets[turn.start : turn.start + turn.count]
        found = zip(asked, logprobs.tolist(), strict=False)
        self.prompt_logprobs += [logprob for target, logprob in found if target != NO_TARGET]

    def take(self, choice: Choice, vocabulary: Vocabulary, ending: frozenset[int]) -> FinishReason | None:
        """The next token was drawn; the reason when it is the last."""
        if self.first_token_at is None:
            self.first_token_at = time.monotonic()
        self.drawn += 1
        if choice.token_id in ending:
            return "stop"
        self.choices.append(choice)
        self.ids.append(choice.token_id)
        self.stream.add(vocabulary.bytes_of(choice.token_id))
        if self.stream.stopped:
            return "stop"
        return "length" if self.drawn >= self.max_tokens else None

    def result(self, reason: FinishReason, vocabulary: Vocabulary) -> Generated:
        self.stream.finish()
        traces = tuple(
            TokenTrace(
                text=piece,
                token_id=choice.token_id,
                logprob=choice.logprob,
                top=tuple((vocabulary.shown(token), p) for token, p in choice.top[: self.request.top_logprobs]),
                entropy=choice.entropy,
                gate_entropy=None if choice.gate_entropy != choice.gate_entropy else choice.gate_entropy,
            )
            for piece, choice in zip(self.stream.pieces, self.choices, strict=False)
        )
        return Generated(
            request_id=self.request.request_id,
            text=self.stream.text,
            finish_reason="stop" if self.stream.stopped else reason,
            tokens=traces,
            prompt=trace_prompt(len(self.prompt.ids), self.prompt_logprobs),
            usage=Usage(len(self.prompt.ids), self.drawn),
            rank=self.sequence.rank,
            timings_ms=self._timings(),
        )

    def _timings(self) -> dict[str, float]:
        now = time.monotonic()
        started = self.started_at or now
        first = self.first_token_at or now
        spans = {"queue": started - self.submitted_at, "prefill": first - started, "decode": now - first}
        return {name: round(1000 * seconds, 3) for name, seconds in spans.items()}
