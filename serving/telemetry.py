"""Names every span and attribute of the serving application, and says where finished spans and log lines go."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog
from opentelemetry import context, trace
from opentelemetry.propagators.textmap import DefaultGetter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from serving.answer import Answer
from serving.engine.gang import RankReport
from serving.engine.generation import Generated
from serving.settings import ServingSettings

SERVICE = "countersign-serving"

# Spans. The caller's span `chat {model}` is the gateway's; below it:
ASK = "replica.ask"
QUEUE = "engine.queue"
PREFILL = "engine.prefill"
DECODE = "engine.decode"
RANK = "engine.rank"
CONFIDENCE = "confidence.assess"

# Attributes under OpenTelemetry's GenAI names (all of them still "development").
OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
RESPONSE_MODEL = "gen_ai.response.model"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
FINISH_REASONS = "gen_ai.response.finish_reasons"
# Our own.
REPLICA_ID = "countersign.replica.id"
EPOCH = "countersign.gang.epoch"
RANK_NUMBER = "countersign.rank"
RANK_PID = "countersign.rank.pid"
RANK_EXPERT_PARAMETERS = "countersign.rank.expert_parameters"
RANK_HOLDS_SEQUENCE = "countersign.rank.holds_sequence"  # its cache held this ask's keys and values
CONFIDENCE_VALUE = "review.confidence"
CALIBRATION = "review.calibration"

_propagator = TraceContextTextMapPropagator()


class SpanFile(SpanExporter):
    """Appends one JSON object a line; one write a span, so several processes may share the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with open(self.path, "ab", buffering=0) as file:
            for span in spans:
                file.write(json.dumps(span_to_json(span)).encode() + b"\n")
        return SpanExportResult.SUCCESS


def span_to_json(span: ReadableSpan) -> dict[str, Any]:
    """The file's line: times in unix seconds, identifiers in hexadecimal."""
    own, parent = span.context, span.parent
    return {
        "name": span.name,
        "service": span.resource.attributes.get("service.name"),
        "trace_id": f"{own.trace_id:032x}" if own else None,
        "span_id": f"{own.span_id:016x}" if own else None,
        "parent_id": f"{parent.span_id:016x}" if parent else None,
        "start": (span.start_time or 0) / 1e9,
        "end": (span.end_time or 0) / 1e9,
        "attributes": dict(span.attributes or {}),
        "links": [
            {"trace_id": f"{link.context.trace_id:032x}", "span_id": f"{link.context.span_id:016x}"}
            for link in span.links
        ],
    }


def tracer_provider(settings: ServingSettings) -> TracerProvider:
    """Spans always have identifiers; they leave this process only where a setting says so."""
    provider = TracerProvider(resource=Resource({"service.name": SERVICE, "process.pid": os.getpid()}))
    if settings.otlp_endpoint:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # slow import

        exporter = OTLPSpanExporter(endpoint=settings.otlp_endpoint.rstrip("/") + "/v1/traces")
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=500))
    if settings.span_file:
        provider.add_span_processor(SimpleSpanProcessor(SpanFile(settings.span_file)))
    return provider


def incoming_context(traceparent: str | None) -> context.Context:
    """The caller's trace, or a new one when the header is missing or malformed."""
    carrier = {"traceparent": [traceparent]} if traceparent else {}
    return _propagator.extract(carrier, getter=DefaultGetter())


def trace_id_of(span: trace.Span) -> str:
    return f"{span.get_span_context().trace_id:032x}"


def configure_logs(settings: ServingSettings) -> None:
    """JSON lines in home/logs/replicas.log; Ray keeps a replica's stderr to itself. Never content, never secrets."""
    directory = settings.home / "logs"
    directory.mkdir(parents=True, exist_ok=True)
    file = open(directory / "replicas.log", "a", buffering=1, encoding="utf-8")  # noqa: SIM115 - for the process's life
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(settings.log_level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file),
    )


def describe_answer(span: trace.Span, answer: Answer) -> None:
    """What the ask's span says of its answer; numbers and names, never content."""
    span.set_attributes(
        {
            PROVIDER: "countersign",
            RESPONSE_MODEL: answer.model,
            INPUT_TOKENS: answer.usage.prompt_tokens,
            OUTPUT_TOKENS: answer.usage.completion_tokens,
            FINISH_REASONS: [answer.finish_reason],
        }
    )
    if answer.confidence.value is not None:
        span.set_attribute(CONFIDENCE_VALUE, answer.confidence.value)
    if answer.confidence.calibration_id is not None:
        span.set_attribute(CALIBRATION, answer.confidence.calibration_id)


def record_engine_spans(tracer: trace.Tracer, generated: Generated, ranks: Sequence[RankReport]) -> None:
    """The engine's phases as spans, ending now; every rank took part in each step of prefill and decode."""
    milliseconds = generated.timings_ms
    end = time.time_ns()
    decode_from = end - int(milliseconds.get("decode", 0.0) * 1e6)
    prefill_from = decode_from - int(milliseconds.get("prefill", 0.0) * 1e6)
    queue_from = prefill_from - int(milliseconds.get("queue", 0.0) * 1e6)
    tracer.start_span(QUEUE, start_time=queue_from).end(prefill_from)
    prefill = {INPUT_TOKENS: generated.usage.prompt_tokens}
    tracer.start_span(PREFILL, start_time=prefill_from, attributes=prefill).end(decode_from)
    decode = {OUTPUT_TOKENS: generated.usage.completion_tokens}
    tracer.start_span(DECODE, start_time=decode_from, attributes=decode).end(end)
    columns = max(1, sum(rank.stage == 0 for rank in ranks))
    for rank in ranks:
        facts = {
            RANK_NUMBER: rank.rank,
            RANK_PID: rank.pid,
            RANK_EXPERT_PARAMETERS: rank.expert,
            RANK_HOLDS_SEQUENCE: rank.rank % columns == generated.rank,
        }
        tracer.start_span(RANK, start_time=prefill_from, attributes=facts).end(end)
