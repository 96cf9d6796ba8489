"""Runs the steps of a gang: what the scheduler chose goes out, what came back goes to its generations."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from serving.answer import FinishReason
from serving.engine.batch_limit import BatchLimit, Limits
from serving.engine.engine_config import EngineConfig
from serving.engine.flight import Flight
from serving.engine.gang import Gang
from serving.engine.generation import Generated
from serving.engine.migration import Migration
from serving.engine.plan import RankAnswer, RankPlan, was_drawn
from serving.engine.scheduler import Scheduler, Sequence, Turn, extent
from serving.engine.stats import Counters
from serving.engine.told import Told
from serving.engine.vocabulary import Vocabulary
from serving.model.checkpoint import Checkpoint

_BYTES_AHEAD = 1 << 16  # of plans that wait: sockets take more, so that neither side waits for the other to read


@dataclass(frozen=True, slots=True)
class _InFlight:
    turns: list[list[Turn]]
    plans: list[RankPlan]
    began: float
    extent: tuple[int, int]  # see scheduler.extent


class Steps:
    """For one thread; knows neither futures nor locks. `clock` tells seconds, for the limits to follow.

    As many steps are in flight as the gang has stages, so that each stage has one to work on. A gang of one stage is
    sent the step after before it has answered, and never waits for the driver. That is done while sequences only
    generate: who comes meanwhile waits for two such steps, but never for two that read prompts, which take longer.
    Steps of a fraction of a millisecond are answered some at a time, see `serving.engine.told`.
    """

    def __init__(
        self,
        gang: Gang,
        checkpoint: Checkpoint,
        vocabulary: Vocabulary,
        config: EngineConfig,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gang, self._vocabulary, self._block_size, self._clock = gang, vocabulary, config.block_size, clock
        self._vocab_size = checkpoint.config.vocab_size
        self._ending = frozenset(checkpoint.config.eos_ids) | vocabulary.special_ids
        self._flights: dict[Sequence, Flight] = {}  # not by id: one given up may be in flight beside its successor
        self._depth, self._columns = config.stages, config.ranks
        self._in_flight: deque[_InFlight] = deque()  # oldest first
        self._ended: list[tuple[Flight, FinishReason]] = []  # and not yet written down
        self._sent = 0  # steps
        self._told = Told()
        self.limits = limits or _limits_of(config)
        self.counters = Counters(gang.reports, gang.placement)
        self.migration = Migration(gang, self.counters.load, checkpoint.config.experts, config)
        self.scheduler = Scheduler(
            config.ranks,
            config.kv_blocks,
            config.block_size,
            config.step_tokens,
            config.most_running,
            self.limits,
            depth=config.stages,
        )

    def add(self, flight: Flight) -> None:
        self._flights[flight.sequence] = flight
        self.scheduler.add(flight.sequence)

    def drop(self, flight: Flight) -> None:
        """It is given up; its blocks are free at once, or when the step that it is in has come back."""
        if self._flights.pop(flight.sequence, None) is None:  # it has just come to its end
            self._ended = [(other, reason) for other, reason in self._ended if other is not flight]
        else:
            self.scheduler.remove(flight.sequence)

    def run(self, wake: int | None = None) -> list[tuple[Flight, Generated]] | None:
        """Until the oldest step in flight comes back, or generations have ended; None: there is nothing to do.

        What has ended is written down while the next step is computed already. Ends sooner when `wake` is readable and
        another step could be sent meanwhile. Raises RankLost.
        """
        while self._has_room() and self._send():
            pass
        if self._ended:
            return self.take_ended()
        if not self._in_flight:
            return None
        self._take_oldest(wake if self._has_room() else None)
        return []

    def take_ended(self) -> list[tuple[Flight, Generated]]:
        """Generations that have come to their end, written down."""
        ended, self._ended = self._ended, []
        return [(flight, self._result(flight, reason)) for flight, reason in ended]

    def _has_room(self) -> bool:
        """Whether another step may be sent now."""
        if len(self._in_flight) < self._depth:
            return True
        _, prompt_tokens = self._in_flight[-1].extent
        if self._depth > 1 or prompt_tokens or len(self._in_flight) >= 2 * self._told.together:
            return False
        return (len(self._in_flight) + 1) * self._gang.plan_bytes <= _BYTES_AHEAD

    def _send(self) -> bool:
        """One more step; False when there is none to send."""
        began = self._clock()
        turns = self.scheduler.next_step()
        if not any(turns):
            return False
        counts, size = tuple(sum(turn.count for turn in rank) for rank in turns), extent(turns)
        placement = self.migration.before_step()
        may_keep = self._depth == 1 and not size[1] and self._told.may_keep()
        how = {"placement": placement, "may_keep": may_keep, "reads_prompts": size[1] > 0}
        plans = [self._plan(rank, counts, how) for rank in turns]
        self._gang.submit(plans)
        self.scheduler.depart(turns)
        self._in_flight.append(_InFlight(turns, plans, began, size))
        self._sent += 1
        return True

    def _take_oldest(self, wake: int | None) -> None:
        answers = self._gang.collect(wake)
        if answers is None:
            return
        together, step = min(len(self._in_flight), self._depth), self._in_flight.popleft()
        self.counters.count_step(step.plans, answers)
        of_last_stage = answers[-self._columns :]
        for rank, answer in zip(step.turns, of_last_stage, strict=True):
            self._take_answer(rank, answer)
        more = step.plans[0].may_keep and bool(self._in_flight) and not self._in_flight[0].extent[1]
        seconds = self._told.take(step.began, self._clock(), more)
        if seconds is not None:
            # The next token of its sequences comes after as many answers as there are stages at work.
            self.limits.observe(*step.extent, together * seconds)

    def _plan(self, turns: list[Turn], counts: tuple[int, ...], how: dict[str, Any]) -> RankPlan:
        """`how`: fields that are the same for all ranks."""
        flights = [self._flights[turn.sequence] for turn in turns]
        sequences = [flight.plan(turn, self._block_size) for flight, turn in zip(flights, turns, strict=True)]
        top_k = max((flight.request.top_logprobs for flight in flights), default=0)
        top_k = min(top_k, self._vocab_size)
        return RankPlan(self._sent, counts, tuple(sequences), top_k, **how)

    def _take_answer(self, turns: list[Turn], answer: RankAnswer) -> None:
        last = 0
        for turn, row in zip(turns, answer.drawn.tolist(), strict=True):
            first, last = last, last + turn.count
            self.scheduler.advance(turn)
            flight = self._flights.get(turn.sequence)
            if flight is None:  # given up while the step was in flight
                continue
            if turn.start < flight.sequence.prompt:
                flight.take_prompt_logprobs(turn, answer.target_logprobs[first:last])
            drawn = was_drawn(row)
            reason = flight.take(row, self._vocabulary, self._ending) if drawn else None
            self._publish(flight)
            if not drawn:
                continue
            self.counters.generated += 1
            if reason is not None:
                self.drop(flight)
                self._ended.append((flight, reason))

    def _publish(self, flight: Flight) -> None:
        """Only what is computed to a block's end is shared: a generation given up leaves nothing half-written."""
        if flight.sequence.computed // self._block_size > flight.published:
            blocks = flight.full_blocks(self._block_size)
            self.scheduler.publish(flight.sequence, flight.published, blocks)
            flight.published += len(blocks)

    def _result(self, flight: Flight, reason: FinishReason) -> Generated:
        generated = flight.result(reason, self._vocabulary)
        self.counters.count_finished(generated)
        return generated


def _limits_of(config: EngineConfig) -> BatchLimit:
    """They speak of one step; a rank's sequences are shared out over as many as there are stages."""
    return BatchLimit(
        config.token_seconds,
        -(-config.least_running // config.stages),
        -(-config.most_running // config.stages),
        least_chunk=config.block_size,
        step_tokens=config.step_tokens,
    )
