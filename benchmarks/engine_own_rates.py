"""Times our engine as its peers are timed, and tells whether their greedy answers are ours."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.peers.engine.timed import Asked, Clock, Generate, rates
from serving.engine.engine import Engine
from serving.engine.generation import Generated, GenerationRequest, Message
from serving.engine.local import local_engine

MARGIN = 1e-3  # between the two best logits: below it, rounding may choose


def measure(asked: Asked, ranks: int = 1, **config: Any) -> dict[int, dict[str, Any]]:
    """By batch as `timed.rates` has it, and `margins`: how far each token of `ids` was ahead of the second best.

    `config` are fields of EngineConfig. The time is of whole requests, submitted together: scheduling, the step's
    way to the ranks, log-probabilities and entropy of every token are in it. Raises CheckpointError, RankLost and
    timed.WrongLength.
    """
    most = max(asked.batches)
    at_once = {"least_running": most, "most_running": most, "step_tokens": most * len(asked.prompts[0])}
    with local_engine(asked.checkpoint, ranks, **(at_once | config)) as engine:
        return {batch: _rates(engine, asked, batch) for batch in asked.batches}


def asking(engine: Engine) -> Generate:
    """Whole requests, all submitted together."""
    return _Answers(engine).generate


def differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> int:
    """How many of their answers differ from ours although no margin up to there was below MARGIN."""
    return sum(
        _differs(own, margins, other)
        for own, margins, other in zip(ours["ids"], ours["margins"], theirs["ids"], strict=True)
    )


def _differs(own: Sequence[int], margins: Sequence[float], theirs: Sequence[int]) -> bool:
    certain = len(list(itertools.takewhile(lambda margin: margin >= MARGIN, margins)))
    return list(own[:certain]) != list(theirs[:certain])


def _rates(engine: Engine, asked: Asked, batch: int) -> dict[str, Any]:
    answers = _Answers(engine)
    found = rates(answers.generate, asked, batch, _clock(engine))
    return {**found, "margins": answers.margins(asked.prompts[:batch], 2 * asked.tokens)}


def _clock(engine: Engine) -> Clock:
    """Seconds of the processor that this process and the engine's ranks have used."""
    ranks = [(~report.pid << 3) | 2 for report in engine.reports]  # Linux's clocks of other processes
    return lambda: time.process_time() + sum(time.clock_gettime(rank) for rank in ranks)


class _Answers:
    """Asks the engine for what each prompt says between the tokens of its chat."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._numbers = engine, itertools.count()

    def generate(self, prompts: list[list[int]], tokens: int) -> list[list[int]]:
        return [[token.token_id for token in answer.tokens] for answer in self._ask(prompts, tokens)]

    def margins(self, prompts: list[list[int]], tokens: int) -> list[list[float]]:
        return [[_margin(token.top) for token in answer.tokens] for answer in self._ask(prompts, tokens)]

    def _ask(self, prompts: list[list[int]], tokens: int) -> list[Generated]:
        asked = [self._engine.submit(self._request(ids, tokens)) for ids in prompts]
        return [future.result() for future in asked]

    def _request(self, ids: list[int], tokens: int) -> GenerationRequest:
        content = (Message("user", bytes(ids[2:-1]).decode()),)
        return GenerationRequest(str(next(self._numbers)), content, max_tokens=tokens, temperature=0.0)


def _margin(top: Sequence[tuple[str, float]]) -> float:
    best, second = sorted((logprob for _, logprob in top), reverse=True)[:2]
    return best - second
