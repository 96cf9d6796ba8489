"""The generation contract over vLLM: requests become its requests, and what it gives back becomes Generated."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import Future
from contextlib import aclosing
from typing import Protocol

from serving.backends.vllm.arguments import VllmSizes
from serving.backends.vllm.checkpoint import AnyCheckpoint
from serving.backends.vllm.flight import VllmFlight, VllmOutput
from serving.backends.vllm.load import VllmLoad
from serving.engine.admission import check_request, max_tokens_of, sampling_of
from serving.engine.errors import Aborted, EngineClosed, EngineError, InvalidRequest, Overloaded, RankLost
from serving.engine.gang import RankReport, reported_placement
from serving.engine.generation import Generated, GenerationRequest, resolve
from serving.engine.prompt import open_prompt_writer
from serving.engine.stats import Counters, EngineStats, RankStats
from serving.engine.vocabulary import load_vocabulary

_RETRY_SECONDS = 1.0
_log = logging.getLogger(__name__)


class VllmGenerator(Protocol):
    """serving/backends/vllm/host.py"""

    reports: tuple[RankReport, ...]
    load: VllmLoad
    longest: int  # tokens that a sequence may have
    blocks: int  # of the cache
    chunk: int  # tokens of a step at most
    loop: asyncio.AbstractEventLoop

    @property
    def dead(self) -> str | None: ...

    def generate(self, flight: VllmFlight) -> AsyncGenerator[VllmOutput, None]: ...

    def shutdown(self) -> None: ...


class VllmEngine:
    """Use from any thread; generations run on the generator's loop."""

    def __init__(self, generator: VllmGenerator, checkpoint: AnyCheckpoint, sizes: VllmSizes) -> None:
        """Raises CheckpointError when prompts for this checkpoint cannot be written."""
        self.checkpoint, self.reports = checkpoint, generator.reports
        self._generator, self._sizes = generator, sizes
        self._vocabulary = load_vocabulary(checkpoint.directory)
        self._writer = open_prompt_writer(self._vocabulary, checkpoint.directory)
        self._longest = min(checkpoint.context_length, generator.longest)
        self._counters = Counters(generator.reports, reported_placement(generator.reports))  # written on the loop alone
        self._lock = threading.Lock()
        self._flights: dict[str, VllmFlight] = {}  # guarded by the lock
        self._closed = False

    @property
    def lost(self) -> str | None:
        """Why no generation will end any more, although nobody closed it."""
        return None if self._closed else self._generator.dead

    def submit(self, request: GenerationRequest) -> Future[Generated]:
        """Cancelling the future gives the generation up.

        Raises InvalidRequest, ContextTooLong, Overloaded, RankLost or EngineClosed; the future may raise RankLost,
        Aborted, EngineClosed or InvalidRequest.
        """
        flight = self._prepare(request)
        with self._lock:
            if self._closed:
                raise EngineClosed("the engine was closed")
            if reason := self._generator.dead:
                raise RankLost(None, reason)
            if request.request_id in self._flights:
                raise InvalidRequest("request_id", "is already in flight")
            held = self._sizes.most_running
            if len(self._flights) >= held + self._sizes.most_waiting:
                raise Overloaded(len(self._flights) - held, _RETRY_SECONDS)
            self._flights[request.request_id] = flight
        running = asyncio.run_coroutine_threadsafe(self._generate(flight), self._generator.loop)
        flight.future.add_done_callback(lambda future: running.cancel() if future.cancelled() else None)
        return flight.future

    def stats(self) -> EngineStats:
        """What vLLM does not tell is NaN (times of ranks) or empty (load of experts)."""
        load, counters, sizes = self._generator.load, self._counters, self._sizes
        running = min(load.running, len(self._flights))  # the last step knew nothing of those that ended with it
        alive = not self._closed and self._generator.dead is None
        free = round(self._generator.blocks * (1 - load.kv_used))
        ranks = tuple(
            RankStats(
                rank=report.rank,
                pid=report.pid,
                alive=alive,
                running=running,
                batch_rows=load.rows,
                free_blocks=free,
                kept_blocks=0,
                compute_seconds=math.nan,
                exchange_seconds=math.nan,
                expert_rows=0,
            )
            for report in self.reports
        )
        return EngineStats(
            alive=alive,
            waiting=len(self._flights) - running,
            running=running,
            running_limit=sizes.most_running,
            chunk_limit=self._generator.chunk,
            steps=load.steps,
            finished=counters.finished,
            generated_tokens=counters.generated,
            prompt_tokens=counters.prompt,
            reused_tokens=counters.reused,
            reused_prompts=counters.reused_prompts,
            kv_blocks=self._generator.blocks,
            ranks=ranks,
            expert_load=(),
            imbalance=None,
            imbalance_lately=None,
            placement=0,
            migrating=False,
            migrations=0,
            failed_migrations=0,
            first_token=counters.first_token.read(),
            token=counters.token.read(),
            last_step_at=load.last_step_at,
        )

    def close(self) -> None:
        """Generations in flight fail with EngineClosed; vLLM's processes end."""
        with self._lock:
            self._closed = True
            flights, self._flights = list(self._flights.values()), {}
        for flight in flights:
            resolve(flight.future, EngineClosed("the engine was closed"))
        self._generator.shutdown()

    def _prepare(self, request: GenerationRequest) -> VllmFlight:
        defaults = self.checkpoint.defaults
        sampling = sampling_of(request, defaults)
        check_request(request)
        prompt = self._writer.write(request.messages)
        wanted = max_tokens_of(request, defaults, len(prompt.ids), self._longest)
        return VllmFlight(request, prompt, sampling, wanted, self.checkpoint.eos_ids, self._vocabulary)

    async def _generate(self, flight: VllmFlight) -> None:
        outcome: Generated | EngineError = RankLost(None, "vLLM ended a generation without a reason")
        try:
            async with aclosing(self._generator.generate(flight)) as outputs:
                async for output in outputs:
                    self._counters.generated += len(output.tokens)
                    if flight.take(output):
                        outcome = flight.result()
                        break
        except asyncio.CancelledError:
            outcome = Aborted("the generation was given up")
        except EngineError as error:
            outcome = error
        except Exception as error:
            _log.exception("a generation failed at vLLM")
            outcome = RankLost(None, f"vLLM failed: {type(error).__name__}")
        self._land(flight, outcome)

    def _land(self, flight: VllmFlight, outcome: Generated | EngineError) -> None:
        with self._lock:
            known = self._flights.pop(flight.request.request_id, None)
        if known is None:  # closed meanwhile
            return
        if isinstance(outcome, Generated):
            self._counters.count_finished(outcome)
        resolve(flight.future, outcome)
