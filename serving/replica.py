"""One replica: an engine and its gang of ranks, which it repairs in place, answering asks with their confidence."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from pathlib import Path

import structlog
from opentelemetry import trace

from serving import telemetry
from serving.answer import Answer
from serving.ask import Ask, CalibrationReference
from serving.confidence.assess import assess
from serving.confidence.calibration import Calibration, calibration_from_json
from serving.engine.engine import Engine, Generation, RankLost
from serving.gang import Gang
from serving.settings import ServingSettings

log = structlog.get_logger()

REPAIR_ATTEMPTS = 3
KNOWN_CALIBRATIONS = 8


class Overloaded(Exception):
    """The replica holds as many asks as it may; ask again later."""


class UnknownCalibration(Exception):
    """No calibration of this id is known here; send it in full."""

    def __init__(self, calibration_id: str) -> None:
        super().__init__(calibration_id)
        self.calibration_id = calibration_id


class Unhealthy(RuntimeError):
    """The replica cannot help itself any more and wants to be replaced."""


class KnownCalibrations:
    """The last few calibrations seen, by id."""

    def __init__(self) -> None:
        self._by_id: OrderedDict[str, Calibration] = OrderedDict()

    def resolve(self, reference: CalibrationReference | None) -> Calibration | None:
        """Raises UnknownCalibration, or InvalidCalibration for a body that is none."""
        if reference is None:
            return None
        if reference.body is not None:
            self._by_id[reference.id] = calibration_from_json(reference.body)
        if reference.id not in self._by_id:
            raise UnknownCalibration(reference.id)
        self._by_id.move_to_end(reference.id)
        while len(self._by_id) > KNOWN_CALIBRATIONS:
            self._by_id.popitem(last=False)
        return self._by_id[reference.id]


class Replica:
    """Asks wait while the gang is repaired; those in flight when a rank was lost have failed with RankLost."""

    def __init__(self, replica_id: str, settings: ServingSettings, cpu_share: float, directory: Path) -> None:
        self.id = replica_id
        self.settings = settings
        self.engine = Engine(settings.checkpoint, settings.ranks, settings.exchange, directory)
        self.gang = Gang(cpu_share, self._rank_lost)
        self.epoch = 0
        self._calibrations = KnownCalibrations()
        self._ready = asyncio.Event()
        self._held = 0  # asks generating or waiting
        self._busy_since = time.monotonic()  # when an ask came to an idle replica
        self._given_up: str | None = None  # why no further repair is tried
        self._repair: asyncio.Task[None] | None = None
        self._provider = telemetry.tracer_provider(settings)
        self._tracer = self._provider.get_tracer(__name__)

    async def start(self) -> None:
        """Raises when the gang does not come up within `repair_seconds`."""
        async with asyncio.timeout(self.settings.repair_seconds):
            await self._bring_up()

    @property
    def ready(self) -> bool:
        return self._ready.is_set()

    async def ask(self, ask: Ask, traceparent: str | None) -> Answer:
        """Raises RankLost, Overloaded, UnknownCalibration, InvalidCalibration and the engine's errors."""
        with (
            self._tracer.start_as_current_span(
                telemetry.ASK,
                context=telemetry.incoming_context(traceparent),
                kind=trace.SpanKind.SERVER,
                attributes={telemetry.OPERATION: "chat", telemetry.REPLICA_ID: self.id},
            ) as span,
            structlog.contextvars.bound_contextvars(trace_id=telemetry.trace_id_of(span)),
        ):
            calibration = self._calibrations.resolve(ask.calibration)
            generation = await self._generate(ask)
            answer = self._assessed(generation, calibration)
            telemetry.describe_answer(span, answer)
            log.info(
                "ask.answered",
                finish_reason=answer.finish_reason,
                tokens=answer.usage.completion_tokens,
                confidence=answer.confidence.value,
                calibration=answer.confidence.calibration_id,
            )
            return answer

    async def _generate(self, ask: Ask) -> Generation:
        if self._held >= self.settings.max_asks:
            raise Overloaded
        if not self._held:
            self._busy_since = time.monotonic()
        self._held += 1
        try:
            # Waiting here, not failing, keeps this replica's connections open, so HAProxy prefers the others.
            await self._until_ready()
            return await self.engine.generate(
                messages=ask.messages,
                max_tokens=ask.max_tokens,
                temperature=ask.temperature,
                top_p=ask.top_p,
                seed=ask.seed,
                stop=ask.stop,
                top_logprobs=ask.top_logprobs,
            )
        finally:
            self._held -= 1

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(self.settings.repair_seconds):
                await self._ready.wait()
        except TimeoutError as error:
            raise RankLost("The replica's ranks are not back yet.") from error

    def _assessed(self, generation: Generation, calibration: Calibration | None) -> Answer:
        started = time.perf_counter()
        model = self.engine.checkpoint.model_id
        confidence = assess(
            generation.tokens, generation.prompt, generation.finish_reason, generation.text, model, calibration
        )
        elapsed_ms = (time.perf_counter() - started) * 1e3
        return Answer(
            text=generation.text,
            finish_reason=generation.finish_reason,
            tokens=generation.tokens,
            prompt=generation.prompt,
            confidence=confidence,
            usage=generation.usage,
            model=model,
            replica=self.id,
            timings_ms={**generation.timings_ms, "confidence": elapsed_ms},
        )

    async def _bring_up(self) -> None:
        """A new epoch of the gang: what an older one still says is not heard."""
        self.epoch += 1
        started = time.monotonic()
        await self.gang.start([self.engine.rank_settings(rank, self.epoch) for rank in range(self.settings.ranks)])
        await self.engine.start(self.epoch)
        self._ready.set()
        log.info("gang.ready", epoch=self.epoch, pids=self.gang.pids, seconds=round(time.monotonic() - started, 2))

    def _rank_lost(self, rank: int, reason: str) -> None:
        self._ready.clear()
        log.error("rank.lost", rank=rank, reason=reason, epoch=self.epoch)
        self.engine.rank_lost(rank, reason)
        if self._repair is None or self._repair.done():
            self._repair = asyncio.create_task(self._rebuild())

    async def _rebuild(self) -> None:
        for attempt in range(1, REPAIR_ATTEMPTS + 1):
            await self.gang.stop()
            try:
                async with asyncio.timeout(self.settings.repair_seconds):
                    await self._bring_up()
                return
            except Exception as error:  # whatever stands in the way, the next attempt or the replacement answers it
                log.error("gang.repair_failed", attempt=attempt, error=repr(error))
        self._given_up = f"its ranks could not be rebuilt in {REPAIR_ATTEMPTS} attempts"

    def check_health(self) -> None:
        """Raises Unhealthy when repair was given up, or asks wait and no step has finished for `stall_seconds`."""
        if self._given_up:
            raise Unhealthy(f"Replica {self.id}: {self._given_up}.")
        still = time.monotonic() - max(self.engine.last_progress, self._busy_since)
        if self.ready and self.engine.busy and still > self.settings.stall_seconds:
            raise Unhealthy(f"Replica {self.id}: no step has finished for {still:.0f} s.")

    async def stop(self) -> None:
        if self._repair:
            self._repair.cancel()
        await self.gang.stop()
        await self.engine.stop()
        self._provider.shutdown()
