"""The engine: one thread asks the scheduler what runs, sends the plans, and gives the answers to their generations."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from serving.answer import FinishReason
from serving.engine.admission import Admission
from serving.engine.batch_limit import BatchLimit
from serving.engine.engine_config import EngineConfig
from serving.engine.errors import Aborted, EngineClosed, EngineError, InvalidRequest, Overloaded, RankLost
from serving.engine.flight import Flight
from serving.engine.gang import Gang
from serving.engine.generation import Generated, GenerationRequest
from serving.engine.plan import RankAnswer, RankPlan
from serving.engine.prompt import open_prompt_writer
from serving.engine.scheduler import Scheduler, Turn, extent
from serving.engine.stats import Counters, EngineStats, read_stats
from serving.engine.vocabulary import load_vocabulary
from serving.model.checkpoint import Checkpoint

_RETRY_SECONDS = 1.0
_log = logging.getLogger(__name__)


class Engine:
    """Owns its gang. A lost rank fails every generation in flight with RankLost and ends the engine."""

    def __init__(
        self,
        gang: Gang,
        checkpoint: Checkpoint,
        config: EngineConfig,
        on_lost: Callable[[RankLost], None] | None = None,
    ) -> None:
        """`on_lost` is called once, on the engine's thread, after the generations have failed."""
        self.checkpoint, self.reports = checkpoint, gang.reports
        self._gang, self._config, self._on_lost = gang, config, on_lost
        self._vocabulary = load_vocabulary(checkpoint.directory)
        self._ending = frozenset(checkpoint.config.eos_ids) | self._vocabulary.special_ids
        least = config.block_size  # prompt tokens of a step
        self._limit = BatchLimit(
            config.token_seconds, config.least_running, config.most_running, least, config.step_tokens
        )
        self._scheduler = Scheduler(
            config.ranks, config.kv_blocks, config.block_size, config.step_tokens, config.most_running, self._limit
        )
        writer = open_prompt_writer(self._vocabulary, checkpoint.directory)
        longest = min(checkpoint.config.context_length, self._scheduler.longest_sequence)
        self._admission = Admission(writer, checkpoint.defaults, longest, config.block_size)
        self._lock = threading.Lock()
        self._flights: dict[str, Flight] = {}  # all in flight; guarded by the lock
        self._submitted: list[Flight] = []  # not yet known to the scheduler; guarded by the lock
        self._given_up: list[str] = []  # guarded by the lock
        self._closing = False
        self._lost: RankLost | None = None
        self._counters = Counters(gang.reports)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._drive, name="engine", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> RankLost | None:
        """Why the engine ended by itself."""
        return self._lost

    def submit(self, request: GenerationRequest) -> Future[Generated]:
        """Cancelling the future gives the generation up.

        Raises InvalidRequest, ContextTooLong, Overloaded, RankLost or EngineClosed; the future may raise RankLost,
        Aborted or EngineClosed.
        """
        flight = self._admission.prepare(request)
        with self._lock:
            self._refuse_when_ended()
            if request.request_id in self._flights:
                raise InvalidRequest("request_id", "is already in flight")
            held = self._config.ranks * self._config.most_running
            if len(self._flights) >= held + self._config.most_waiting:
                raise Overloaded(len(self._flights) - held, _RETRY_SECONDS)
            self._flights[request.request_id] = flight
            self._submitted.append(flight)
            os.eventfd_write(self._wake, 1)  # under the lock: the engine's thread closes it as it ends
        flight.future.add_done_callback(lambda future: self._give_up_cancelled(future, request.request_id))
        return flight.future

    def abort(self, request_id: str) -> None:
        """Its future raises Aborted; unknown ids are ignored."""
        with self._lock:
            if self._closing or request_id not in self._flights:
                return
            self._given_up.append(request_id)
            os.eventfd_write(self._wake, 1)

    def stats(self) -> EngineStats:
        submitted = len(self._submitted)
        alive = self._thread.is_alive() and self._lost is None
        return read_stats(self._counters, self._scheduler, self._limit, self._config, submitted, alive, self._lost)

    def close(self) -> None:
        """Generations in flight fail with EngineClosed; the ranks end."""
        with self._lock:
            self._closing = True
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    # -- the engine's own thread ---------------------------------------------------------------------------------

    def _drive(self) -> None:
        failure: EngineError = EngineClosed("the engine was closed")
        try:
            while self._take_orders():
                began = time.monotonic()
                turns = self._scheduler.next_step()
                if any(turns):
                    self._step(turns)
                    self._limit.observe(*extent(turns), time.monotonic() - began)
                else:
                    self._gang.wait(self._wake)
        except RankLost as lost:
            failure = self._lost = lost
        except Exception as error:
            _log.exception("the engine's thread failed")
            failure = self._lost = RankLost(None, f"the engine itself failed: {type(error).__name__}")
        finally:
            self._end(failure)

    def _take_orders(self) -> bool:
        """Learn of new and given-up generations; False when the engine is to end."""
        with self._lock:
            if self._closing:
                return False
            submitted, self._submitted = self._submitted, []
            given_up, self._given_up = self._given_up, []
            with contextlib.suppress(BlockingIOError):  # nobody called since the last time
                os.eventfd_read(self._wake)
        for flight in submitted:
            self._scheduler.add(flight.sequence)
        for request_id in given_up:
            if request_id in self._flights:
                self._land(self._flights[request_id], Aborted("the generation was given up"))
        return True

    def _step(self, turns: list[list[Turn]]) -> None:
        counts = tuple(sum(turn.count for turn in rank) for rank in turns)
        plans = [self._plan(rank, counts) for rank in turns]
        answers = self._gang.step(plans)
        self._counters.count_step(plans, answers)
        for rank, answer in zip(turns, answers, strict=True):
            self._take_answer(rank, answer)

    def _plan(self, turns: list[Turn], counts: tuple[int, ...]) -> RankPlan:
        flights = [self._flights[turn.sequence.id] for turn in turns]
        sequences = [flight.plan(turn, self._config.block_size) for flight, turn in zip(flights, turns, strict=True)]
        top_k = max((flight.request.top_logprobs for flight in flights), default=0)
        top_k = min(top_k, self.checkpoint.config.vocab_size)
        return RankPlan(self._counters.steps, counts, tuple(sequences), top_k)

    def _take_answer(self, turns: list[Turn], answer: RankAnswer) -> None:
        first = 0
        for turn, choice in zip(turns, answer.choices, strict=True):
            flight, last = self._flights[turn.sequence.id], first + turn.count
            flight.take_prompt_logprobs(turn, answer.target_logprobs[first:last])
            self._scheduler.advance(turn)
            first = last
            reason = None if choice is None else flight.take(choice, self._vocabulary, self._ending)
            self._publish(flight)
            if choice is None:
                continue
            self._counters.generated += 1
            if reason is None:
                self._scheduler.grow(turn.sequence)
            else:
                self._finish(flight, reason)

    def _publish(self, flight: Flight) -> None:
        """Only what is computed to a block's end is shared: a generation given up leaves nothing half-written."""
        blocks = flight.full_blocks(self._config.block_size)
        self._scheduler.publish(flight.sequence, flight.published, blocks)
        flight.published += len(blocks)

    def _finish(self, flight: Flight, reason: FinishReason) -> None:
        generated = flight.result(reason, self._vocabulary)
        self._counters.count_finished(generated)
        self._land(flight, generated)

    def _land(self, flight: Flight, outcome: Generated | EngineError) -> None:
        """It leaves the engine; its blocks are free before anyone hears of it."""
        self._scheduler.remove(flight.sequence)
        with self._lock:
            del self._flights[flight.request.request_id]
        _resolve(flight.future, outcome)

    def _end(self, failure: EngineError) -> None:
        with self._lock:
            self._closing = True
            flights, self._flights = list(self._flights.values()), {}
            self._submitted, self._given_up = [], []
            os.close(self._wake)
            self._wake = -1
        self._gang.close()
        for flight in flights:
            _resolve(flight.future, _again(failure))
        if isinstance(failure, RankLost):
            _log.error("%s; %d generations failed", failure, len(flights))
            if self._on_lost is not None:
                self._on_lost(failure)

    def _refuse_when_ended(self) -> None:
        if self._lost is not None:
            raise _again(self._lost)
        if self._closing:
            raise EngineClosed("the engine was closed")

    def _give_up_cancelled(self, future: Future[Generated], request_id: str) -> None:
        if future.cancelled():
            self.abort(request_id)


def _again(failure: EngineError) -> EngineError:
    """An exception of its own for every generation: a raised one carries its raiser's traceback."""
    return RankLost(failure.rank, failure.reason) if isinstance(failure, RankLost) else EngineClosed(str(failure))


def _resolve(future: Future[Generated], outcome: Generated | EngineError) -> None:
    if not future.set_running_or_notify_cancel():
        return  # its caller has gone
    if isinstance(outcome, EngineError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
