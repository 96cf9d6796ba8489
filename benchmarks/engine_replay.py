"""Replays arrivals through the engine's own steps on one rank, against a clock of one's choice."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from serving.engine.admission import Admission
from serving.engine.batch_limit import Limits
from serving.engine.engine_config import EngineConfig
from serving.engine.flight import Flight
from serving.engine.gang import Gang
from serving.engine.generation import GenerationRequest, Message
from serving.engine.prompt import open_prompt_writer
from serving.engine.steps import Steps
from serving.engine.vocabulary import load_vocabulary
from serving.model.checkpoint import Checkpoint

TOKENS = 32  # of every answer
P99_SECONDS = 0.2
TARGET_SECONDS = 0.95 * P99_SECONDS / TOKENS  # of a token, in the mean; the rest is for the prompt
CONFIG = EngineConfig(ranks=1, step_tokens=512, token_seconds=TARGET_SECONDS, least_running=4, most_running=64)


class RunToCompletion:
    """Batches of at most `size`, formed of whoever waits when the one before has finished."""

    def __init__(self, size: int) -> None:
        self._size, self.free = size, True

    @property
    def running(self) -> int:
        return self._size if self.free else 0

    def chunk(self, rows: int) -> int:
        return CONFIG.step_tokens

    def observe(self, rows: int, tokens: int, seconds: float) -> None:
        """Its size is fixed."""


@dataclass(frozen=True, slots=True)
class Bench:
    gang: Gang
    checkpoint: Checkpoint
    clock: Callable[[], float]  # seconds
    texts: tuple[str, ...] = ()  # questions whose answers have TOKENS tokens

    def admission(self) -> Admission:
        writer = open_prompt_writer(load_vocabulary(self.checkpoint.directory), self.checkpoint.directory)
        return Admission(writer, self.checkpoint.defaults, self.checkpoint.config.context_length, CONFIG.block_size)

    def steps(self, limits: Limits | None) -> Steps:
        """None: adaptive, as the engine has them."""
        vocabulary = load_vocabulary(self.checkpoint.directory)
        return Steps(self.gang, self.checkpoint, vocabulary, CONFIG, limits, self.clock)

    def latencies(self, limits: Limits | None, arrivals: Sequence[float], most_late: int) -> list[float]:
        """Seconds from each arrival to its whole answer; ends early once more than `most_late` took too long."""
        steps, admission = self.steps(limits), self.admission()
        now, came, late = 0.0, 0, 0
        found: list[float] = []
        flights: list[Flight] = []
        while len(found) < len(arrivals) and late <= most_late:
            began = self.clock()
            while came < len(arrivals) and arrivals[came] <= now:
                flights.append(admission.prepare(request(came, self.texts[came % len(self.texts)])))
                steps.add(flights[-1])
                came += 1
            if isinstance(limits, RunToCompletion):
                limits.free = steps.scheduler.running == 0
            ended = steps.run()
            if ended is None:
                now = arrivals[came]
                continue
            now += self.clock() - began
            found += [now - arrivals[int(flight.request.request_id)] for flight, _ in ended]
            late = sum(seconds > P99_SECONDS for seconds in found)
        leave(steps, flights)
        return found

    def holds(self, limits: Limits | None, gaps: Sequence[float], rate: float) -> bool:
        """Whether at most one in a hundred is late at `rate` questions per second."""
        found = self.latencies(limits, arrivals_at(gaps, rate), len(gaps) // 100)
        return sum(seconds > P99_SECONDS for seconds in found) <= len(gaps) // 100

    def p99(self, limits: Limits | None, gaps: Sequence[float], rate: float) -> float:
        found = sorted(self.latencies(limits, arrivals_at(gaps, rate), len(gaps)))
        return found[math.ceil(0.99 * len(found)) - 1]


def leave(steps: Steps, flights: Sequence[Flight]) -> None:
    """A step may be in flight; whoever replays next has the same gang."""
    for flight in flights:
        steps.drop(flight)
    while steps.run() is not None:
        pass


def arrivals_at(gaps: Sequence[float], rate: float) -> list[float]:
    return [at / rate for at in accumulate(gaps)]


def request(number: int, text: str) -> GenerationRequest:
    """Each with a salt of its own: what is compared is when they run, not what they share."""
    name = str(number)
    return GenerationRequest(name, (Message("user", text),), max_tokens=TOKENS, temperature=0.0, cache_salt=name)
