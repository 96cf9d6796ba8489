"""How long steps of one rank take by what is in them, and a stand-in for the rank that takes just as long."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from serving.engine.gang import Gang, RankReport
from serving.engine.plan import Choice, RankAnswer, RankPlan, Sampling, SequenceStep, drawn_rows

ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
CHUNKS = ((1, 32), (1, 96), (2, 48), (4, 48))  # how many prompts, and tokens of each
_BESIDE = 8  # sequences that generate while prompts are read
_CONTEXT, _BLOCK = 80, 16  # tokens that each sequence has, and of a block
_QUICK = 0.05  # of the repeats: what a step takes where others leave the processor alone


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Seconds: by rows that generate, and beyond that of each prompt read and each of its tokens."""

    rows: tuple[int, ...]
    by_rows: tuple[float, ...]
    prompt: float
    token: float

    def of(self, plan: RankPlan) -> float:
        counts = [len(sequence.tokens) for sequence in plan.sequences]
        prompts = [count for count in counts if count > 1]
        by_rows = float(np.interp(len(counts) - len(prompts), self.rows, self.by_rows))
        return by_rows + self.prompt * len(prompts) + self.token * sum(prompts)


def processor_clock(pid: int) -> Callable[[], float]:
    """Seconds that this thread and the rank's process have used."""
    rank = (~pid << 3) | 2  # Linux's clock of another process, as clock_getcpuclockid makes it
    return lambda: time.thread_time() + time.clock_gettime(rank)


def measure_steps(gang: Gang, clock: Callable[[], float], repeats: int) -> StepTimes:
    """`clock`: seconds that driver and rank use of the processor, in turn; the wake-ups between them are added.

    All shapes take turns, so that what the machine does meanwhile meets them all alike.
    """
    draw, beyond = random.Random(0), []
    shapes = [(rows, 0, 0) for rows in ROWS] + [(_BESIDE, prompts, tokens) for prompts, tokens in CHUNKS]
    taken: dict[tuple[int, int, int], list[float]] = {shape: [] for shape in shapes}
    for number in range(repeats):
        for shape in shapes:
            plan = _plan(number, *shape, draw)
            wall, used = time.perf_counter(), clock()
            gang.step([plan])
            wall, used = time.perf_counter() - wall, clock() - used
            taken[shape].append(used)
            beyond.append(wall - used)
    wake_up = max(0.0, min(beyond))
    quick = {shape: float(np.quantile(times, _QUICK)) for shape, times in taken.items()}
    by_rows = np.maximum.accumulate([quick[rows, 0, 0] for rows in ROWS]) + wake_up
    more = [quick[_BESIDE, *chunk] - quick[_BESIDE, 0, 0] for chunk in CHUNKS]
    (prompt, token), *_ = np.linalg.lstsq(np.array([[n, n * tokens] for n, tokens in CHUNKS], float), more, rcond=None)
    return StepTimes(ROWS, tuple(by_rows.tolist()), max(0.0, float(prompt)), max(0.0, float(token)))


class StandIn(Gang):
    """Says nothing of sense, in the time that the rank would take: a step moves `now` on and uses no processor."""

    def __init__(self, times: StepTimes, report: RankReport, token_id: int) -> None:
        super().__init__([], [report], 0.0)
        self._times, self._choice = times, Choice(token_id, -1.0, 1.0, 1.0, ((token_id, -1.0),))
        self.now = 0.0  # seconds
        self._plans: deque[RankPlan] = deque()

    def submit(self, plans: Sequence[RankPlan]) -> None:
        self._plans += plans

    def collect(self, wake: int | None = None) -> list[RankAnswer]:
        plan = self._plans.popleft()
        self.now += self._times.of(plan)
        choices = tuple(self._choice if sequence.sampled else None for sequence in plan.sequences)
        return [RankAnswer(plan.step, drawn_rows(choices, 1), np.full(plan.counts[0], -1.0), None, 0.0, 0.0)]


def _plan(step: int, rows: int, prompts: int, tokens: int, draw: random.Random) -> RankPlan:
    blocks = -(-_CONTEXT // _BLOCK)
    sequences = [
        SequenceStep(
            [draw.randrange(256)], _CONTEXT - 1, range(row * blocks, (row + 1) * blocks), True, step, Sampling()
        )
        for row in range(rows)
    ]
    first = rows * blocks
    for _ in range(prompts):
        ids = [draw.randrange(256) for _ in range(tokens)]
        width = -(-tokens // _BLOCK)
        sequences.append(SequenceStep(ids, 0, range(first, first + width), True, 0, Sampling(), ids))
        first += width
    return RankPlan(step, (rows + prompts * tokens,), tuple(sequences), top_k=5)
