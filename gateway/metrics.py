"""Counts what operators watch: requests, decisions, the review queue and the time to a verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.policy import Ruling
from serving.answer import Answer
from serving.confidence.cascade import MOST_SAMPLES
from storage.records import Verdict

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
VERDICT_SECONDS = (10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0)
ENDED = {
    "quarantined": "Items withheld because they could not be reviewed.",
    "expired": "Items withheld since nobody decided.",
}
SAMPLES = tuple(float(n) for n in range(MOST_SAMPLES + 1))
TENTHS = tuple(n / 10 for n in range(1, 11))


class EndedItems(Collector):
    """Totals that the database knows: items end in the worker, which may be another process than this one."""

    def __init__(self) -> None:
        self.counts: Mapping[str, int] | None = None  # state → items; None: the database did not answer

    def collect(self) -> Iterator[Metric]:
        for state, meaning in ENDED.items():
            found = None if self.counts is None else self.counts.get(state, 0)
            yield CounterMetricFamily(f"countersign_items_{state}", meaning, found)


class Metrics:
    """One registry an application, so that several may live in one process."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        self.requests = Counter(
            "countersign_requests", "Requests answered.", ["method", "route", "status"], registry=own
        )
        self.latency = Histogram(
            "countersign_request_seconds", "Time until a response ended.", ["route"], buckets=SECONDS, registry=own
        )
        self.model_seconds = Histogram(
            "gen_ai_client_operation_duration_seconds", "Time to a model's whole answer.", ["gen_ai_request_model"],
            buckets=SECONDS, registry=own,
        )  # fmt: skip
        self.tokens = Counter("gen_ai_client_token_usage", "Tokens used.", ["gen_ai_token_type"], registry=own)
        self.samples = Histogram(
            "countersign_samples", "Further answers drawn to compare one with.", buckets=SAMPLES, registry=own
        )
        self.decisions = Counter("countersign_decisions", "Decisions made.", ["action", "reason"], registry=own)
        self.confidence = Histogram(
            "countersign_confidence", "Calibrated confidence of answers.", buckets=TENTHS, registry=own
        )
        self.items = Gauge("countersign_review_items", "Review items by state.", ["state"], registry=own)
        self.oldest = Gauge(
            "countersign_review_oldest_waiting_seconds", "Age of the oldest item without a verdict.", registry=own
        )
        self.overdue = Gauge(
            "countersign_items_overdue", "Items open for over a minute past their deadline: no worker.", registry=own
        )
        self.without_reviewer = Gauge(
            "countersign_items_without_reviewer", "Waiting items that no present reviewer may decide.", registry=own
        )
        self.verdicts = Counter("countersign_verdicts", "Verdicts given.", ["kind"], registry=own)
        self.verdict_seconds = Histogram(
            "countersign_verdict_seconds", "Time from question to verdict.", buckets=VERDICT_SECONDS, registry=own
        )
        self.refused_verdicts = Counter("countersign_verdicts_refused", "Verdicts refused.", ["why"], registry=own)
        self.content_changed = Counter(
            "countersign_content_changed", "Answers withheld: the stored text is not what was decided on.", registry=own
        )
        self.not_vouched = Counter(
            "countersign_not_vouched", "Answers withheld: their records were not written here.", ["why"], registry=own
        )
        self.passed_over = Counter(
            "countersign_items_passed_over",
            "Waiting items that a claim left out: they could not be opened.",
            registry=own,
        )
        self.queue_fallbacks = Counter(
            "countersign_queue_fallbacks", "Claims ordered by the database since Valkey was away.", registry=own
        )
        self.ended = EndedItems()
        own.register(self.ended)
        self.unsealed = Gauge("countersign_audit_unsealed", "Audit events that wait to be sealed.", registry=own)
        self.tree_size = Gauge("countersign_audit_tree_size", "Audit events that are sealed.", registry=own)
        self.seal_lag = Gauge(
            "countersign_audit_seal_lag_seconds", "Age of the oldest audit event that waits to be sealed.", registry=own
        )
        self.seal_failures = Counter(
            "countersign_audit_seal_failures", "Rounds of the sealer that failed.", registry=own
        )
        self.intrusions = Counter(
            "countersign_audit_intrusions", "Rows for the audit log that the product did not write.", registry=own
        )
        self.checkpoints_contradict = Gauge(
            "countersign_checkpoints_contradict",
            "1: the audit log is not what its checkpoints say; sealing has stopped.",
            registry=own,
        )
        self.suspended = Gauge(
            "countersign_certificates_suspended", "Models of which nothing is released until recertified.", registry=own
        )
        self.suspensions = Counter(
            "countersign_certificate_suspensions", "Certificates that this worker's alarm suspended.", registry=own
        )
        self.worker_failures = Counter("countersign_worker_failures", "Failures of the worker's duties.", registry=own)

    @property
    def of_the_log(self) -> tuple[Gauge, ...]:
        """What the database knows of the audit log, whoever seals it."""
        return self.unsealed, self.tree_size, self.seal_lag

    def text(self) -> bytes:
        return generate_latest(self.registry)

    def answered(self, answer: Answer, seconds: float) -> None:
        self.model_seconds.labels(answer.model).observe(seconds)
        self.tokens.labels("input").inc(answer.usage.prompt_tokens)
        self.tokens.labels("output").inc(answer.usage.completion_tokens)
        self.tokens.labels("sample_input").inc(answer.sampled.prompt_tokens)
        self.tokens.labels("sample_output").inc(answer.sampled.completion_tokens)
        self.samples.observe(answer.confidence.samples)

    def decided(self, ruling: Ruling) -> None:
        self.decisions.labels(ruling.action.value, ruling.reason.value).inc()
        if ruling.confidence is not None:
            self.confidence.observe(ruling.confidence)

    def judged(self, verdict: Verdict, asked_at: float) -> None:
        self.verdicts.labels(verdict.kind.value).inc()
        self.verdict_seconds.observe(max(0.0, verdict.created_at - asked_at))
