"""Knows the fixed layout of what the driver tells a rank each step, and of what the rank answers; numpy only."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
DrawnRow = list[float]  # one of RankAnswer.drawn

NO_TARGET = -1  # this token's successor needs no log-probability
_FLOATS, _WORDS = struct.Struct("<dd"), struct.Struct("<qq")
HEADER = 10  # step, ranks, sequences, tokens, table width, top_k; the last four fields of RankPlan
FIELDS = 7  # start, count, sampled, seed, draw, temperature (float bits), top_p (float bits)
_ANSWER_HEADER = 9  # step, sequences, tokens, top_k, logits' width, expert layers, experts, then two times in seconds
CHOICE = 4  # a drawn row: token id, its log-probability, entropy, gate entropy; then k ids, k log-probabilities


class PlanError(Exception):
    """Driver and rank disagree on the layout: they run different versions."""


@dataclass(frozen=True, slots=True)
class Sampling:
    temperature: float = 0.0  # 0: greedy
    top_p: float = 1.0
    seed: int = 0
    float_words: tuple[int, int] = field(init=False, repr=False, compare=False)  # both floats' bits

    def __post_init__(self) -> None:
        object.__setattr__(self, "float_words", _WORDS.unpack(_FLOATS.pack(self.temperature, self.top_p)))


@dataclass(frozen=True, slots=True)
class SequenceStep:
    """One sequence's part of a step: compute tokens start..start+len(tokens), perhaps draw the next one."""

    tokens: Sequence[int]  # or one that the rank draws in the step before, see `drawn_at`
    start: int
    blocks: Sequence[int]  # at least as many as the tokens so far need
    sampled: bool = False
    draw: int = 0  # how many tokens were drawn before, the place in the seed's series
    sampling: Sampling = Sampling()
    targets: Sequence[int] | None = None  # per token: the successor whose log-probability is wanted, or NO_TARGET


@dataclass(frozen=True, slots=True)
class RankPlan:
    """What one rank computes in one step. Sequences with one token come first."""

    step: int
    counts: tuple[int, ...]  # tokens of every rank in this step
    sequences: tuple[SequenceStep, ...]
    top_k: int = 0
    want_logits: bool = False
    placement: int = 0  # version of the placement of experts that the step is computed by
    may_keep: bool = False  # its answer may be told with that of a later step, while plans wait
    reads_prompts: bool = False  # this rank or another: that takes long, so what is kept is told before


@dataclass(frozen=True, slots=True)
class Choice:
    token_id: int
    logprob: float
    entropy: float
    gate_entropy: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class RankAnswer:
    step: int
    drawn: Floats  # [sequences of the plan, CHOICE + 2 * top_k]; NaN where nothing was drawn
    target_logprobs: Floats  # [tokens], NaN where there was no target
    logits: npt.NDArray[np.float32] | None  # [tokens, vocab] when the plan wanted them
    compute_seconds: float
    exchange_seconds: float
    expert_load: Integers = field(default_factory=lambda: np.zeros((0, 0), np.int64))  # [expert layers, experts] rows


def pack_plan(plan: RankPlan) -> bytes:
    sequences = plan.sequences
    tokens = sum(len(sequence.tokens) for sequence in sequences)
    width = max((len(sequence.blocks) for sequence in sequences), default=0)
    header = [plan.step, len(plan.counts), len(sequences), tokens, width, plan.top_k, int(plan.want_logits)]
    how = [plan.placement, int(plan.may_keep), int(plan.reads_prompts)]
    words: list[int] = [*header, *how, *plan.counts]
    for sequence in sequences:
        words += [sequence.start, len(sequence.tokens), int(sequence.sampled), sequence.sampling.seed, sequence.draw]
        words += sequence.sampling.float_words
    for sequence in sequences:
        words += sequence.tokens
    for sequence in sequences:
        words += [NO_TARGET] * len(sequence.tokens) if sequence.targets is None else sequence.targets
    for sequence in sequences:
        words += [*sequence.blocks, *[0] * (width - len(sequence.blocks))]
    return np.array(words, np.int64).tobytes()


def pack_answer(answer: RankAnswer) -> bytes:
    drawn, logits = answer.drawn, answer.logits
    width, load = 0 if logits is None else logits.shape[1], answer.expert_load
    header = [answer.step, len(drawn), len(answer.target_logprobs), (drawn.shape[1] - CHOICE) // 2, width, *load.shape]
    times = [answer.compute_seconds, answer.exchange_seconds]
    numbers = np.concatenate(([*header, *times], drawn.ravel(), answer.target_logprobs, load.ravel()))
    return numbers.tobytes() + (b"" if logits is None else np.ascontiguousarray(logits, np.float32).tobytes())


def unpack_answer(payload: bytes) -> RankAnswer:
    """Raises PlanError when lengths do not agree."""
    if len(payload) < 8 * _ANSWER_HEADER:
        raise PlanError("an answer is shorter than its header")
    header: list[float] = np.frombuffer(payload, np.float64, _ANSWER_HEADER).tolist()
    step, count, tokens, top_k, vocab, layers, experts = (int(number) for number in header[:7])
    width = CHOICE + 2 * top_k
    cuts = np.cumsum([_ANSWER_HEADER, count * width, tokens, layers * experts]).tolist()
    numbers_end = 8 * cuts[-1]
    if len(payload) != numbers_end + 4 * tokens * vocab:
        raise PlanError("an answer's length does not agree with its header")
    _, drawn, targets, load = np.split(np.frombuffer(payload, np.float64, cuts[-1]), cuts[:-1])
    logits = np.frombuffer(payload, np.float32, tokens * vocab, numbers_end).reshape(tokens, vocab) if vocab else None
    loads = load.astype(np.int64).reshape(layers, experts)
    return RankAnswer(step, drawn.reshape(count, width), targets, logits, header[7], header[8], loads)


def drawn_at(place: int) -> int:
    """What a plan has instead of a token that the same rank draws, for sequence number `place` of the plan before."""
    return ~place


def was_drawn(row: DrawnRow) -> bool:
    return row[0] == row[0]  # not NaN


def read_choice(row: DrawnRow) -> Choice:
    """Of a row that was drawn."""
    top_k = (len(row) - CHOICE) // 2
    ids, logprobs = row[CHOICE : CHOICE + top_k], row[CHOICE + top_k :]
    top = tuple((int(token), logprob) for token, logprob in zip(ids, logprobs, strict=True) if token == token)
    return Choice(int(row[0]), row[1], row[2], row[3], top)


def drawn_rows(choices: Sequence[Choice | None], top_k: int) -> Floats:
    """The reverse of `read_choice`, NaN where there is none."""
    rows = np.full((len(choices), CHOICE + 2 * top_k), np.nan)
    for row, choice in zip(rows, choices, strict=True):
        if choice is not None:
            row[:CHOICE] = choice.token_id, choice.logprob, choice.entropy, choice.gate_entropy
            for place, (token, logprob) in enumerate(choice.top):
                row[CHOICE + place], row[CHOICE + top_k + place] = token, logprob
    return rows
