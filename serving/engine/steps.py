"""Runs one step of a gang after another: what the scheduler chose goes out, what came back goes to its generations."""

from __future__ import annotations

import time
from collections.abc import Callable

from serving.answer import FinishReason
from serving.engine.batch_limit import BatchLimit, Limits
from serving.engine.engine_config import EngineConfig
from serving.engine.flight import Flight
from serving.engine.gang import Gang
from serving.engine.generation import Generated
from serving.engine.migration import Migration
from serving.engine.plan import RankAnswer, RankPlan
from serving.engine.scheduler import Scheduler, Turn, extent
from serving.engine.stats import Counters
from serving.engine.vocabulary import Vocabulary
from serving.model.checkpoint import Checkpoint


class Steps:
    """For one thread; knows neither futures nor locks. `clock` tells seconds, for the limits to follow."""

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
        self._flights: dict[str, Flight] = {}  # by their sequence's id
        self.limits = limits or _limits_of(config)
        self.counters = Counters(gang)
        self.migration = Migration(gang, self.counters.load, checkpoint.config.experts, config)
        self.scheduler = Scheduler(
            config.ranks, config.kv_blocks, config.block_size, config.step_tokens, config.most_running, self.limits
        )

    def add(self, flight: Flight) -> None:
        self._flights[flight.sequence.id] = flight
        self.scheduler.add(flight.sequence)

    def drop(self, flight: Flight) -> None:
        """It is given up; its blocks are free at once."""
        del self._flights[flight.sequence.id]
        self.scheduler.remove(flight.sequence)

    def run(self) -> list[tuple[Flight, Generated]] | None:
        """One step; the generations that it ended, or None when there is nothing to do. Raises RankLost."""
        began = self._clock()
        turns = self.scheduler.next_step()
        if not any(turns):
            return None
        counts = tuple(sum(turn.count for turn in rank) for rank in turns)
        placement = self.migration.before_step()
        plans = [self._plan(rank, counts, placement) for rank in turns]
        answers = self._gang.step(plans)
        self.counters.count_step(plans, answers)
        found = [self._take_answer(rank, answer) for rank, answer in zip(turns, answers, strict=True)]
        self.limits.observe(*extent(turns), self._clock() - began)
        return [ended for rank in found for ended in rank]

    def _plan(self, turns: list[Turn], counts: tuple[int, ...], placement: int) -> RankPlan:
        flights = [self._flights[turn.sequence.id] for turn in turns]
        sequences = [flight.plan(turn, self._block_size) for flight, turn in zip(flights, turns, strict=True)]
        top_k = max((flight.request.top_logprobs for flight in flights), default=0)
        top_k = min(top_k, self._vocab_size)
        return RankPlan(self.counters.steps, counts, tuple(sequences), top_k, placement=placement)

    def _take_answer(self, turns: list[Turn], answer: RankAnswer) -> list[tuple[Flight, Generated]]:
        first, ended = 0, []
        for turn, choice in zip(turns, answer.choices, strict=True):
            flight, last = self._flights[turn.sequence.id], first + turn.count
            flight.take_prompt_logprobs(turn, answer.target_logprobs[first:last])
            self.scheduler.advance(turn)
            first = last
            reason = None if choice is None else flight.take(choice, self._vocabulary, self._ending)
            self._publish(flight)
            if choice is None:
                continue
            self.counters.generated += 1
            if reason is None:
                self.scheduler.grow(turn.sequence)
            else:
                ended.append((flight, self._finish(flight, reason)))
        return ended

    def _publish(self, flight: Flight) -> None:
        """Only what is computed to a block's end is shared: a generation given up leaves nothing half-written."""
        blocks = flight.full_blocks(self._block_size)
        self.scheduler.publish(flight.sequence, flight.published, blocks)
        flight.published += len(blocks)

    def _finish(self, flight: Flight, reason: FinishReason) -> Generated:
        generated = flight.result(reason, self._vocabulary)
        self.counters.count_finished(generated)
        self.drop(flight)
        return generated


def _limits_of(config: EngineConfig) -> BatchLimit:
    return BatchLimit(
        config.token_seconds,
        config.least_running,
        config.most_running,
        least_chunk=config.block_size,
        step_tokens=config.step_tokens,
    )
