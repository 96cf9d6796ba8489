"""One generation in flight: what was asked, what came so far, and what it becomes when it ends."""

from __future__ import annotations

import math
import time
from concurrent.futures import Future
from dataclasses import dataclass, field

from serving.answer import FinishReason, TokenTrace, Usage
from serving.engine.block_pool import FullBlock
from serving.engine.generation import Generated, GenerationRequest
from serving.engine.plan import NO_TARGET, Choice, DrawnRow, Floats, Sampling, SequenceStep, drawn_at, read_choice
from serving.engine.prefix import BlockKeys
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
    keys: BlockKeys  # of the prompt so far
    future: Future[Generated] = field(default_factory=Future)
    submitted_at: float = field(default_factory=time.monotonic)
    started_at: float | None = None
    first_token_at: float | None = None
    last_token_at: float | None = None
    drawn: int = 0  # tokens, the closing one included
    rows: list[DrawnRow] = field(default_factory=list)  # of all but the closing token
    reused: int = 0  # tokens of the prompt that were in the cache before
    published: int = 0  # full blocks that others may use
    ids: list[int] = field(init=False)
    content: list[bool] = field(init=False)
    logprobs: list[float] = field(init=False)  # of each token of `ids`; NaN where none was measured
    targets: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.ids, self.content = list(self.prompt.ids), list(self.prompt.content)
        self.logprobs = [math.nan] * len(self.ids)
        self.targets = self.prompt.targets()

    def plan(self, turn: Turn, block_size: int) -> SequenceStep:
        if self.started_at is None:
            self.started_at = time.monotonic()
            self._inherit(block_size)
        end = turn.start + turn.count
        tokens = self.ids[turn.start : end]
        if not tokens:  # it is being drawn
            assert self.sequence.pending is not None
            tokens = [drawn_at(self.sequence.pending)]
        return SequenceStep(
            tokens=tokens,
            start=turn.start,
            blocks=self.sequence.blocks[: -(-end // block_size)],
            sampled=turn.draws,
            draw=self.sequence.length - self.sequence.prompt,
            sampling=self.sampling,
            targets=self.targets[turn.start : end] if end <= len(self.targets) else None,
        )

    def take_prompt_logprobs(self, turn: Turn, logprobs: Floats) -> None:
        """`logprobs` [turn.count] are those of each token's successor, NaN where nothing was asked."""
        asked = self.targets[turn.start : turn.start + turn.count]
        for place, (target, logprob) in enumerate(zip(asked, logprobs.tolist(), strict=False), turn.start + 1):
            if target != NO_TARGET:
                self.logprobs[place] = logprob

    def take(self, row: DrawnRow, vocabulary: Vocabulary, ending: frozenset[int]) -> FinishReason | None:
        """The next token was drawn; the reason when it is the last."""
        self.last_token_at = time.monotonic()
        if self.first_token_at is None:
            self.first_token_at = self.last_token_at
        self.drawn += 1
        token = int(row[0])
        if token in ending:
            return "stop"
        self.rows.append(row)
        self.ids.append(token)
        self.content.append(True)
        self.logprobs.append(row[1])
        self.stream.add(vocabulary.bytes_of(token))
        if self.stream.stopped:
            return "stop"
        return "length" if self.drawn >= self.max_tokens else None

    def full_blocks(self, block_size: int) -> list[FullBlock]:
        """Those from block number `published` on whose tokens are all computed."""
        full = self.sequence.computed // block_size
        if full == self.published:
            return []
        self.keys.extend(self.ids, self.content)
        return [self._full_block(place, block_size) for place in range(self.published, full)]

    def result(self, reason: FinishReason, vocabulary: Vocabulary) -> Generated:
        self.stream.finish()
        traces = tuple(
            self._trace(piece, read_choice(row), vocabulary)
            for piece, row in zip(self.stream.pieces, self.rows, strict=False)
        )
        return Generated(
            request_id=self.request.request_id,
            text=self.stream.text,
            finish_reason="stop" if self.stream.stopped else reason,
            tokens=traces,
            prompt=trace_prompt(len(self.prompt.ids), self._content_logprobs()),
            usage=Usage(len(self.prompt.ids), self.drawn),
            rank=self.sequence.rank,
            reused_tokens=self.reused,
            timings_ms=self._timings(),
        )

    def _trace(self, piece: str, choice: Choice, vocabulary: Vocabulary) -> TokenTrace:
        return TokenTrace(
            text=piece,
            token_id=choice.token_id,
            logprob=choice.logprob,
            top=tuple((vocabulary.shown(token), p) for token, p in choice.top[: self.request.top_logprobs]),
            entropy=choice.entropy,
            gate_entropy=None if choice.gate_entropy != choice.gate_entropy else choice.gate_entropy,
        )

    def _inherit(self, block_size: int) -> None:
        inherited = self.sequence.inherited
        self.logprobs[: len(inherited)] = inherited
        self.reused = self.sequence.computed
        self.published = self.reused // block_size

    def _full_block(self, place: int, block_size: int) -> FullBlock:
        first, end = place * block_size, (place + 1) * block_size
        known = end < len(self.ids) and self.logprobs[end] == self.logprobs[end]  # not NaN
        successor = (self.ids[end], self.logprobs[end]) if known else None
        return FullBlock(self.keys.keys[place], tuple(self.logprobs[first:end]), successor)

    def _content_logprobs(self) -> list[float]:
        return [self.logprobs[place + 1] for place, target in enumerate(self.targets) if target != NO_TARGET]

    def _timings(self) -> dict[str, float]:
        now = self.last_token_at or time.monotonic()
        started = self.started_at or now
        first = self.first_token_at or now
        spans = {"queue": started - self.submitted_at, "prefill": first - started, "decode": now - first}
        return {name: round(1000 * seconds, 3) for name, seconds in spans.items()}
