"""Knows every span, attribute and event name: GenAI's conventions, and our own under `review.*`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import orjson
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway.policy import Ruling
from gateway.settings import Settings
from serving.answer import Answer
from storage.records import ReviewItem, Verdict

PROPAGATOR = TraceContextTextMapPropagator()
EXPORT_MILLISECONDS = 500


class Telemetry:
    """The tracer of one application. Content of prompts and answers never enters a span."""

    def __init__(self, settings: Settings) -> None:
        self._provider = TracerProvider(resource=Resource.create({"service.name": "countersign-gateway"}))
        if settings.otlp_endpoint:
            exporter = OTLPSpanExporter(endpoint=settings.otlp_endpoint.rstrip("/") + "/v1/traces")
            self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=EXPORT_MILLISECONDS))
        if settings.span_file is not None:
            self._provider.add_span_processor(SpanFile(settings.span_file))
        self._tracer = self._provider.get_tracer("countersign.gateway")

    @contextmanager
    def chat(self, model: str, provider: str, headers: Mapping[str, str]) -> Iterator[Span]:
        """The span of one question, continuing the caller's trace when it sent one."""
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model,
        }
        with self._span(f"chat {model}", SpanKind.CLIENT, PROPAGATOR.extract(headers), attributes) as span:
            yield span

    @contextmanager
    def verdict(self, item: ReviewItem, chat_traceparent: str | None, headers: Mapping[str, str]) -> Iterator[Span]:
        """The span of a reviewer's verdict, linked to the span of the question it is about."""
        links = [Link(context)] if (context := span_context(chat_traceparent)) else []
        attributes = {"review.item.id": item.id, "review.interaction.id": item.interaction_id}
        with self._span("review verdict", SpanKind.SERVER, PROPAGATOR.extract(headers), attributes, links) as span:
            yield span

    def close(self) -> None:
        self._provider.shutdown()

    @contextmanager
    def _span(
        self, name: str, kind: SpanKind, parent: Context, attributes: dict[str, str], links: list[Link] | None = None
    ) -> Iterator[Span]:
        with self._tracer.start_as_current_span(
            name, parent, kind, attributes, links, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except Exception as error:  # only the kind: a message may quote content
                span.set_attribute("error.type", getattr(error, "code", type(error).__name__))
                span.set_status(Status(StatusCode.ERROR))
                raise


def tell_answer(span: Span, answer: Answer, ruling: Ruling, item: ReviewItem | None) -> None:
    """Adds what the model and the policy said, without the words of the answer."""
    span.set_attributes(
        {
            "gen_ai.response.model": answer.model,
            "gen_ai.response.finish_reasons": [answer.finish_reason],
            "gen_ai.usage.input_tokens": answer.usage.prompt_tokens,
            "gen_ai.usage.output_tokens": answer.usage.completion_tokens,
            "review.action": ruling.action.value,
            "review.reason": ruling.reason.value,
            "review.threshold": ruling.threshold,
            "review.calibration": answer.confidence.calibration_id or "",
        }
    )
    if item is not None:
        span.set_attribute("review.item.id", item.id)
    evaluation: dict[str, str | float] = {
        "gen_ai.evaluation.name": "confidence",
        "gen_ai.evaluation.score.label": ruling.reason.value,
    }
    if ruling.confidence is not None:
        evaluation["gen_ai.evaluation.score.value"] = ruling.confidence
    span.add_event("gen_ai.evaluation.result", evaluation)


def tell_verdict(span: Span, verdict: Verdict) -> None:
    span.set_attributes({"review.verdict": verdict.kind.value, "review.reviewer.id": verdict.reviewer_id})
    evaluation = {"gen_ai.evaluation.name": "human_review", "gen_ai.evaluation.score.label": verdict.kind.value}
    span.add_event("gen_ai.evaluation.result", evaluation)


def traceparent_of(span: Span) -> str:
    """The W3C header that continues this span elsewhere."""
    carrier: dict[str, str] = {}
    PROPAGATOR.inject(carrier, trace.set_span_in_context(span))
    return carrier["traceparent"]


def trace_id_of(span: Span) -> str:
    return f"{span.get_span_context().trace_id:032x}"


def span_context(traceparent: str | None) -> trace.SpanContext | None:
    if not traceparent:
        return None
    found = trace.get_current_span(PROPAGATOR.extract({"traceparent": traceparent}, Context())).get_span_context()
    return found if found.is_valid else None


class SpanFile(SimpleSpanProcessor):
    """Appends each finished span to a file as one JSON line, for tests and for looking at traces without a server."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path

    def on_end(self, span: ReadableSpan) -> None:
        with self._path.open("ab") as file:  # one write a line: lines of several processes do not mix
            file.write(orjson.dumps(span_to_json(span)) + b"\n")

    def shutdown(self) -> None: ...

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


def span_to_json(span: ReadableSpan) -> dict[str, object]:
    context = span.get_span_context()
    return {
        "name": span.name,
        "service": span.resource.attributes.get("service.name"),
        "trace_id": f"{context.trace_id:032x}" if context else None,
        "span_id": f"{context.span_id:016x}" if context else None,
        "parent_id": f"{span.parent.span_id:016x}" if span.parent else None,
        "start": (span.start_time or 0) / 1e9,
        "end": (span.end_time or 0) / 1e9,
        "attributes": dict(span.attributes or {}),
        "events": [{"name": event.name, "attributes": dict(event.attributes or {})} for event in span.events],
        "links": [
            {"trace_id": f"{link.context.trace_id:032x}", "span_id": f"{link.context.span_id:016x}"}
            for link in span.links
        ],
    }
