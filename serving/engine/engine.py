"""The engine: one thread takes orders, runs step after step, and tells the callers what became of their generations."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from serving.engine.admission import Admission
from serving.engine.engine_config import EngineConfig
from serving.engine.errors import Aborted, EngineClosed, EngineError, InvalidRequest, Overloaded, RankLost
from serving.engine.flight import Flight
from serving.engine.gang import Gang, RankReport
from serving.engine.generation import Generated, GenerationRequest, resolve
from serving.engine.prompt import open_prompt_writer
from serving.engine.stats import EngineStats, read_stats
from serving.engine.steps import Steps
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
        self.checkpoint = checkpoint
        self._gang, self._config, self._on_lost = gang, config, on_lost
        vocabulary = load_vocabulary(checkpoint.directory)
        self._steps = Steps(gang, checkpoint, vocabulary, config)
        writer = open_prompt_writer(vocabulary, checkpoint.directory)
        longest = min(checkpoint.config.context_length, self._steps.scheduler.longest_sequence)
        self._admission = Admission(writer, checkpoint.defaults, longest, config.block_size)
        self._lock = threading.Lock()
        self._flights: dict[str, Flight] = {}  # all in flight; guarded by the lock
        self._submitted: list[Flight] = []  # not yet known to the scheduler; guarded by the lock
        self._given_up: list[Flight] = []  # guarded by the lock
        self._closing = False
        self._lost: RankLost | None = None
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._drive, name="engine", daemon=True)
        self._thread.start()

    @property
    def reports(self) -> tuple[RankReport, ...]:
        """What each rank holds now."""
        return self._gang.reports

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
        # By id, not by flight: a flight that its own future refers to would stay until garbage is collected.
        flight.future.add_done_callback(partial(self._give_up_cancelled, request.request_id))
        return flight.future

    def abort(self, request_id: str) -> None:
        """Its future raises Aborted; unknown ids are ignored."""
        with self._lock:
            flight = self._flights.get(request_id)
        if flight is not None:
            self._give_up(flight)

    def stats(self) -> EngineStats:
        submitted = len(self._submitted)
        alive = self._thread.is_alive() and self._lost is None
        steps, config = self._steps, self._config
        counted = steps.counters, steps.scheduler, steps.limits, config, steps.migration
        return read_stats(*counted, submitted, alive, self._lost)

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
                ended = self._steps.run(self._wake)
                if ended is None:
                    self._gang.wait(self._wake)
                    continue
                for flight, generated in ended:
                    self._land(flight, generated)
        except RankLost as lost:
            failure = self._lost = lost
        except Exception as error:
            _log.exception("the engine's thread failed")
            failure = self._lost = RankLost(None, f"the engine itself failed: {type(error).__name__}")
        finally:
            for flight, generated in self._steps.take_ended():  # they need no rank any more
                self._land(flight, generated)
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
            self._steps.add(flight)
        for flight in given_up:
            if self._flights.get(flight.request.request_id) is flight:  # not a later one of the same id
                self._steps.drop(flight)
                self._land(flight, Aborted("the generation was given up"))
        return True

    def _land(self, flight: Flight, outcome: Generated | EngineError) -> None:
        """It leaves the engine; its blocks were free before anyone hears of it."""
        with self._lock:
            del self._flights[flight.request.request_id]
        resolve(flight.future, outcome)

    def _end(self, failure: EngineError) -> None:
        with self._lock:
            self._closing = True
            flights, self._flights = list(self._flights.values()), {}
            self._submitted, self._given_up = [], []
            os.close(self._wake)
            self._wake = -1
        self._gang.close()
        for flight in flights:
            resolve(flight.future, _again(failure))
        if isinstance(failure, RankLost):
            _log.error("%s; %d generations failed", failure, len(flights))
            if self._on_lost is not None:
                self._on_lost(failure)

    def _refuse_when_ended(self) -> None:
        if self._lost is not None:
            raise _again(self._lost)
        if self._closing:
            raise EngineClosed("the engine was closed")

    def _give_up_cancelled(self, request_id: str, future: Future[Generated]) -> None:
        if future.cancelled():
            with self._lock:
                flight = self._flights.get(request_id)
            if flight is not None and flight.future is future:
                self._give_up(flight)

    def _give_up(self, flight: Flight) -> None:
        with self._lock:
            if not self._closing:
                self._given_up.append(flight)
                os.eventfd_write(self._wake, 1)


def _again(failure: EngineError) -> EngineError:
    """An exception of its own for every generation: a raised one carries its raiser's traceback."""
    return RankLost(failure.rank, failure.reason) if isinstance(failure, RankLost) else EngineClosed(str(failure))
