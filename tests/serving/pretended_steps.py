"""Drives steps over a gang that only says what was sent and answered when, and always draws the same token."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from serving.engine.admission import Admission
from serving.engine.batch_limit import FixedLimits
from serving.engine.engine_config import EngineConfig
from serving.engine.flight import Flight
from serving.engine.gang import Gang, RankReport
from serving.engine.plan import Choice, RankAnswer, RankPlan, drawn_rows
from serving.engine.prompt import open_prompt_writer
from serving.engine.steps import Steps
from serving.engine.vocabulary import load_vocabulary
from serving.model.checkpoint import Checkpoint
from tests.serving.stages.grids import ask
from tests.serving.tiny_checkpoint import CONTEXT

STEP_SECONDS = 0.01  # between two answers
BLOCK_SIZE = 4


def config_of(stages: int) -> EngineConfig:
    return EngineConfig(
        ranks=1, stages=stages, block_size=BLOCK_SIZE, kv_tokens=4 * CONTEXT, most_running=6, step_tokens=64
    )


class PretendedGang(Gang):
    """One rank a stage; steps take the same time."""

    def __init__(self, stages: int) -> None:
        super().__init__([], [RankReport(stage, 1, 1, 1, {}, stage) for stage in range(stages)], 0.0)
        self._before_last = stages - 1
        self.now, self.step_seconds = 0.0, STEP_SECONDS
        self.prompt_seconds = 0.0  # what a step takes longer that reads prompts
        self.says = ord("x")  # the token that is drawn
        self.events: list[str] = []
        self.sent: deque[RankPlan] = deque()  # and not answered
        self.history: list[RankPlan] = []

    def submit(self, plans: Sequence[RankPlan]) -> None:
        (plan,) = plans
        self.events.append(f"sent {plan.step}")
        self.sent.append(plan)
        self.history.append(plan)

    def collect(self, wake: int | None = None) -> list[RankAnswer] | None:
        if wake is not None:  # somebody always calls
            self.events.append("called")
            return None
        plan = self.sent.popleft()
        self.events.append(f"answered {plan.step}")
        reads = sum(len(sequence.tokens) for sequence in plan.sequences if len(sequence.tokens) > 1)
        self.now += self.step_seconds + self.prompt_seconds * bool(reads)
        word = Choice(self.says, -1.0, 1.0, 1.0, ())
        choices = tuple(word if sequence.sampled else None for sequence in plan.sequences)
        first = RankAnswer(plan.step, drawn_rows((), 0), np.zeros(0), None, 0.0, 0.0)
        last = RankAnswer(plan.step, drawn_rows(choices, 0), np.full(plan.counts[0], -1.0), None, 0.0, 0.0)
        return [first] * self._before_last + [last]


class Watched(FixedLimits):
    """Limits that note what they are told."""

    def __init__(self, running: int) -> None:
        super().__init__(running, 64)
        object.__setattr__(self, "told", [])

    told: list[tuple[int, int, float]]

    def observe(self, rows: int, tokens: int, seconds: float) -> None:
        self.told.append((rows, tokens, round(seconds, 6)))


class Driven:
    def __init__(self, checkpoint: Checkpoint, running: int = 3, stages: int = 2) -> None:
        self.gang, self.limits, config = PretendedGang(stages), Watched(running), config_of(stages)
        vocabulary = load_vocabulary(checkpoint.directory)
        writer = open_prompt_writer(vocabulary, checkpoint.directory)
        self._admission = Admission(writer, checkpoint.defaults, CONTEXT, BLOCK_SIZE)
        self.steps = Steps(self.gang, checkpoint, vocabulary, config, self.limits, lambda: self.gang.now)

    def add(self, name: str, max_tokens: int = 8, **changes: Any) -> Flight:
        flight = self._admission.prepare(ask(name, max_tokens=max_tokens, **changes))
        self.steps.add(flight)
        return flight

    def run_all(self) -> list[str]:
        ended = []
        while (found := self.steps.run()) is not None:
            ended += [flight.request.request_id for flight, _ in found]
        return ended
