"""One replica: answers asks with their confidence from the engine that its backend keeps running."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from concurrent.futures import Future
from typing import Any

import structlog
from opentelemetry import trace

from serving import telemetry
from serving.answer import Answer, Step
from serving.ask import Ask, CalibrationReference
from serving.backends.backend import RunningEngine
from serving.backends.choice import open_backend
from serving.comparison import compare, earlier_questions, last_question, request_of
from serving.confidence.assess import assess
from serving.confidence.calibration import Calibration, calibration_from_json
from serving.confidence.cascade import Sample
from serving.confidence.self_verify.pool import SelfVerifier
from serving.engine.errors import EngineError, Overloaded
from serving.engine.gang import RankReport
from serving.engine.generation import Generated, GenerationRequest
from serving.metrics import ReplicaStats
from serving.settings import ServingSettings

log = structlog.get_logger()

KNOWN_CALIBRATIONS = 8
SAMPLING_SHARE = 0.5  # of the places; from there on asks alone are served, with the confidence they have reached
LONG_TEXT = 32_768  # characters; tokenising more would keep the event loop from other asks for over 20 ms


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
    """Asks that come while ranks are replaced wait; those in flight when one was lost have failed with RankLost."""

    def __init__(self, replica_id: str, settings: ServingSettings, cpu_share: float) -> None:
        self.id, self.settings = replica_id, settings
        self.model, self.backend = open_backend(settings, cpu_share)
        self.held = 0  # asks generating or waiting
        self._busy_since = time.monotonic()  # when an ask came to an idle replica, or new ranks were seen
        self._epoch = 0  # that the health check last saw
        self._calibrations = KnownCalibrations()
        self._verifier = SelfVerifier()
        self._provider = telemetry.tracer_provider(settings)
        self._tracer = self._provider.get_tracer(__name__)

    async def start(self) -> None:
        """Returns when answers can be made and checked. Raises what either start raises."""
        await self._verifier.start()
        await self.backend.start()

    async def ask(self, ask: Ask, traceparent: str | None) -> Answer:
        """Raises UnknownCalibration, InvalidCalibration, Overloaded, RankLost and the engine's other errors."""
        with self._tracer.start_as_current_span(
            telemetry.ASK,
            context=telemetry.incoming_context(traceparent),
            kind=trace.SpanKind.SERVER,
            attributes={
                telemetry.OPERATION: "chat",
                telemetry.REPLICA_ID: self.id,
                telemetry.EPOCH: self.backend.epoch,
            },
        ) as span:
            calibration = self._calibrations.resolve(ask.calibration)
            generated = await self._generate(request_of(ask))
            telemetry.record_engine_spans(self._tracer, generated, self.reports)
            began = time.perf_counter()
            steps = await self._verifier.steps(last_question(ask) or "", generated.text)
            verified_ms = (time.perf_counter() - began) * 1e3
            answer = self._assessed(ask, generated, steps, verified_ms, calibration)
            answer = await self._compared(ask, answer, calibration)
            telemetry.describe_answer(span, answer)
            log.info(
                "ask.answered",
                trace_id=telemetry.trace_id_of(span),
                finish_reason=answer.finish_reason,
                tokens=answer.usage.completion_tokens,
                confidence=answer.confidence.value,
                calibration=answer.confidence.calibration_id,
                samples=answer.confidence.samples,
            )
            return answer

    @property
    def reports(self) -> tuple[RankReport, ...]:
        """What each rank holds; empty while ranks are replaced."""
        engine = self.backend.engine
        return tuple(engine.reports) if engine else ()

    def describe(self) -> dict[str, Any]:
        """The body of GET /model: identity, and which rank holds which layers and experts."""
        by_rank = [
            {
                "rank": report.rank,
                "pid": report.pid,
                "stage": report.stage,
                "layers": list(report.layers),
                "total": report.total or None,  # vLLM does not tell
                "expert": report.expert,
                "expert_ids": {str(layer): list(ids) for layer, ids in report.expert_ids.items()},
            }
            for report in self.reports
        ]
        return {
            "id": self.model.id,
            "name": self.model.name,
            "architecture": self.model.architecture,
            "context_length": self.model.context_length,
            "replica": self.id,
            "epoch": self.backend.epoch,
            "placement": engine.stats().placement if (engine := self.backend.engine) else None,
            "parameters": {"total": self.model.parameters, "by_rank": by_rank},
        }

    def stats(self) -> ReplicaStats:
        engine = self.backend.engine
        return ReplicaStats(
            self.id, self.backend.epoch, self.backend.ready, self.held, engine.stats() if engine else None
        )

    def check_health(self) -> None:
        """Raises Unhealthy when repair was given up, or asks wait and no step has finished for `stall_seconds`."""
        if self.backend.given_up:
            raise Unhealthy(f"Replica {self.id}: {self.backend.given_up}.")
        engine = self.backend.engine
        if self.backend.epoch != self._epoch:  # its ranks have just begun: what was before them is no stall of theirs
            self._epoch, self._busy_since = self.backend.epoch, time.monotonic()
        if engine is None or not self.held:
            return
        still = time.monotonic() - max(engine.stats().last_step_at or 0.0, self._busy_since)
        if still > self.settings.stall_seconds:
            raise Unhealthy(f"Replica {self.id}: asks wait and no step has finished for {still:.0f} s.")

    async def stop(self) -> None:
        await self._verifier.close()
        await self.backend.stop()
        self._provider.shutdown()
        log.info("replica.stopped")

    async def _generate(self, request: GenerationRequest) -> Generated:
        if self.held >= self.settings.max_asks:
            raise Overloaded(self.held, retry_after=1.0)
        if not self.held:
            self._busy_since = time.monotonic()
        self.held += 1
        try:
            # Waiting here, not failing, keeps this replica's connections open, so HAProxy prefers the others.
            engine = await self.backend.running_engine(self.settings.repair_seconds)
            if sum(len(message.content) for message in request.messages) > LONG_TEXT:
                future = await _submitted_apart(engine, request)
            else:
                future = engine.submit(request)
            # Cancelled when the caller disconnects, and then the engine gives the generation up.
            return await asyncio.wrap_future(future)
        finally:
            self.held -= 1

    def _assessed(
        self,
        ask: Ask,
        generated: Generated,
        steps: tuple[Step, ...],
        verified_ms: float,
        calibration: Calibration | None,
    ) -> Answer:
        started, model = time.perf_counter(), self.model.id
        with self._tracer.start_as_current_span(telemetry.CONFIDENCE):
            confidence = assess(
                generated.tokens,
                generated.prompt,
                generated.finish_reason,
                generated.text,
                model,
                calibration,
                steps,
                asked=last_question(ask),
                earlier=earlier_questions(ask),
            )
        return Answer(
            text=generated.text,
            finish_reason=generated.finish_reason,
            tokens=generated.tokens,
            prompt=generated.prompt,
            confidence=confidence,
            usage=generated.usage,
            model=model,
            replica=self.id,
            timings_ms={
                **generated.timings_ms,
                "verification": verified_ms,
                "confidence": (time.perf_counter() - started) * 1e3,
            },
            steps=steps,
        )

    async def _compared(self, ask: Ask, answer: Answer, calibration: Calibration | None) -> Answer:
        if calibration is None or calibration.cascade is None:
            return answer
        return await compare(ask, answer, calibration, self._sample, self.settings.sample_seconds)

    async def _sample(self, request: GenerationRequest, seconds: float) -> Sample | None:
        """Another answer to compare with, or None where it failed, took too long, or would keep others waiting."""
        if seconds <= 0.0 or self.held >= self.settings.max_asks * SAMPLING_SHARE:
            return None
        try:
            async with asyncio.timeout(seconds):
                generated = await self._generate(request)
        except (EngineError, TimeoutError) as error:
            log.info("sample.failed", error=type(error).__name__)
            return None
        return Sample(generated.text, generated.usage)


async def _submitted_apart(engine: RunningEngine, request: GenerationRequest) -> Future[Generated]:
    """Submitted by another thread; where the caller leaves meanwhile, the generation is given up once it is there."""
    submitting = asyncio.ensure_future(asyncio.to_thread(engine.submit, request))
    try:
        return await asyncio.shield(submitting)
    except asyncio.CancelledError:
        submitting.add_done_callback(_give_up)
        raise


def _give_up(submitted: asyncio.Future[Future[Generated]]) -> None:
    if not submitted.cancelled() and submitted.exception() is None:
        submitted.result().cancel()
