"""Knows the fixed layout of what the driver tells a rank each step, and of what the rank answers; numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

NO_TARGET = -1  # this token's successor needs no log-probability
_HEADER = 8  # step, ranks, sequences, tokens, table width, top_k, logits wanted, placement
_FIELDS = 7  # start, count, sampled, seed, draw, temperature (float bits), top_p (float bits)
_ANSWER_HEADER = 9  # step, sequences, tokens, top_k, logits' width, expert layers, experts, then two times in seconds
_CHOICE = 4  # token id, its log-probability, entropy, gate entropy; then k ids, k log-probabilities


class PlanError(Exception):
    """Driver and rank disagree on the layout: they run different versions."""


@dataclass(frozen=True, slots=True)
class Sampling:
    temperature: float = 0.0  # 0: greedy
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class SequenceStep:
    """One sequence's part of a step: compute tokens start..start+len(tokens), perhaps draw the next one."""

    tokens: Sequence[int]
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
    choices: tuple[Choice | None, ...]  # one for each sequence of the plan; None where nothing was drawn
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
    words: list[int] = [*header, plan.placement, *plan.counts]
    for sequence in sequences:
        words += [sequence.start, len(sequence.tokens), int(sequence.sampled), sequence.sampling.seed, sequence.draw]
        words += _float_words(sequence.sampling.temperature, sequence.sampling.top_p)
    for sequence in sequences:
        words += sequence.tokens
    for sequence in sequences:
        words += [NO_TARGET] * len(sequence.tokens) if sequence.targets is None else sequence.targets
    for sequence in sequences:
        words += [*sequence.blocks, *[0] * (width - len(sequence.blocks))]
    return np.array(words, np.int64).tobytes()


def unpack_plan(payload: bytes) -> RankPlan:
    """Raises PlanError when lengths do not agree."""
    words = np.frombuffer(payload, np.int64)
    if len(words) < _HEADER:
        raise PlanError("a plan is shorter than its header")
    step, ranks, count, tokens, width, top_k, want_logits, placement = words[:_HEADER].tolist()
    if len(words) != _HEADER + ranks + count * (_FIELDS + width) + 2 * tokens:
        raise PlanError("a plan's length does not agree with its header")
    cuts = np.cumsum([_HEADER, ranks, count * _FIELDS, tokens, tokens]).tolist()
    counts, fields, ids, targets, tables = (part.tolist() for part in np.split(words, cuts)[1:])
    sequences, first = [], 0
    for place in range(count):
        row = fields[place * _FIELDS : (place + 1) * _FIELDS]
        last = first + row[1]
        sequences.append(_sequence(row, ids[first:last], targets[first:last], tables[place * width :][:width]))
        first = last
    return RankPlan(step, tuple(counts), tuple(sequences), top_k, bool(want_logits), placement)


def _sequence(row: list[int], tokens: list[int], targets: list[int], blocks: list[int]) -> SequenceStep:
    start, _, sampled, seed, draw, temperature, top_p = row
    floats = np.array([temperature, top_p], np.int64).view(np.float64).tolist()
    return SequenceStep(tokens, start, blocks, bool(sampled), draw, Sampling(floats[0], floats[1], seed), targets)


def _float_words(*values: float) -> list[int]:
    words: list[int] = np.array(values, np.float64).view(np.int64).tolist()
    return words


def pack_answer(answer: RankAnswer, top_k: int) -> bytes:
    rows = np.full((len(answer.choices), _CHOICE + 2 * top_k), np.nan)
    for row, choice in zip(rows, answer.choices, strict=True):
        if choice is not None:
            row[:_CHOICE] = choice.token_id, choice.logprob, choice.entropy, choice.gate_entropy
            for place, (token, logprob) in enumerate(choice.top):
                row[_CHOICE + place], row[_CHOICE + top_k + place] = token, logprob
    logits = answer.logits
    width, load = 0 if logits is None else logits.shape[1], answer.expert_load
    header = [answer.step, len(rows), len(answer.target_logprobs), top_k, width, *load.shape]
    times = [answer.compute_seconds, answer.exchange_seconds]
    numbers = np.concatenate(([*header, *times], rows.ravel(), answer.target_logprobs, load.ravel()))
    return numbers.tobytes() + (b"" if logits is None else np.ascontiguousarray(logits, np.float32).tobytes())


def unpack_answer(payload: bytes) -> RankAnswer:
    """Raises PlanError when lengths do not agree."""
    if len(payload) < 8 * _ANSWER_HEADER:
        raise PlanError("an answer is shorter than its header")
    header: list[float] = np.frombuffer(payload, np.float64, _ANSWER_HEADER).tolist()
    step, count, tokens, top_k, vocab, layers, experts = (int(number) for number in header[:7])
    width = _CHOICE + 2 * top_k
    cuts = np.cumsum([_ANSWER_HEADER, count * width, tokens, layers * experts]).tolist()
    numbers_end = 8 * cuts[-1]
    if len(payload) != numbers_end + 4 * tokens * vocab:
        raise PlanError("an answer's length does not agree with its header")
    _, drawn, targets, load = np.split(np.frombuffer(payload, np.float64, cuts[-1]), cuts[:-1])
    logits = np.frombuffer(payload, np.float32, tokens * vocab, numbers_end).reshape(tokens, vocab) if vocab else None
    choices = tuple(_choice(row, top_k) for row in drawn.reshape(count, width).tolist())
    return RankAnswer(
        step, choices, targets, logits, header[7], header[8], load.astype(np.int64).reshape(layers, experts)
    )


def _choice(row: list[float], top_k: int) -> Choice | None:
    if row[0] != row[0]:  # NaN: nothing was drawn
        return None
    pairs = zip(row[_CHOICE : _CHOICE + top_k], row[_CHOICE + top_k :], strict=True)
    top = tuple((int(token), logprob) for token, logprob in pairs if token == token)
    return Choice(int(row[0]), row[1], row[2], row[3], top)
