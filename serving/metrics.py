"""Says what a replica's engine counted: as JSON for people and programs, as Prometheus text for whoever collects."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.engine.stats import SECONDS, Durations, EngineStats, RankStats


@dataclass(frozen=True, slots=True)
class ReplicaStats:
    replica: str
    epoch: int
    ready: bool
    asks: int  # generating or waiting
    engine: EngineStats | None  # None while ranks are replaced


def stats_to_json(stats: ReplicaStats) -> dict[str, Any]:
    """The body of GET /stats: the fields of EngineStats under their names, and how long ago its last step ended."""
    found = asdict(stats)
    if stats.engine is not None:
        last = found["engine"].pop("last_step_at")
        found["engine"]["seconds_since_step"] = None if last is None else round(time.monotonic() - last, 3)
        found["engine"]["duration_bounds"] = SECONDS
    return found


def stats_to_prometheus(stats: ReplicaStats) -> bytes:
    """Every series carries its replica's id: a scrape through the proxy reaches now this replica, now that one."""
    registry = CollectorRegistry()
    registry.register(_Figures(stats))
    return generate_latest(registry)


class _Figures(Collector):
    def __init__(self, stats: ReplicaStats) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        stats, engine = self._stats, self._stats.engine
        yield _gauge("ready", "1: its gang of ranks answers.", stats, float(stats.ready))
        yield _gauge("asks", "Asks it holds, generating or waiting.", stats, stats.asks)
        if engine is not None:
            yield from _of_the_engine(stats, engine)
            yield from _of_the_ranks(stats, engine.ranks)
            yield _expert_load(stats, engine)


def _of_the_engine(stats: ReplicaStats, engine: EngineStats) -> Iterator[Metric]:
    yield _gauge("waiting", "Generations that no rank holds yet.", stats, engine.waiting)
    yield _gauge("running", "Generations that ranks hold.", stats, engine.running)
    yield _gauge("running_limit", "Sequences that a rank may run now.", stats, engine.running_limit)
    yield _gauge("chunk_limit", "Prompt tokens that a rank may read in a step now.", stats, engine.chunk_limit)
    yield _counter("steps", "Steps of the gang.", stats, engine.steps)
    yield _counter("finished", "Generations that came to their end.", stats, engine.finished)
    yield _counter("generated_tokens", "Tokens drawn.", stats, engine.generated_tokens)
    yield _counter("prompt_tokens", "Tokens of finished prompts.", stats, engine.prompt_tokens)
    yield _counter("reused_tokens", "Of these, found in the cache.", stats, engine.reused_tokens)
    yield _counter("reused_prompts", "Finished prompts found in part.", stats, engine.reused_prompts)
    if engine.imbalance is not None:
        help_text = "Largest over mean number of rows that the experts of a rank were chosen for."
        yield _gauge("imbalance", help_text, stats, engine.imbalance)
    if engine.imbalance_lately is not None:
        help_text = "The same of the last few hundred steps, layer by layer."
        yield _gauge("imbalance_lately", help_text, stats, engine.imbalance_lately)
    yield _gauge("placement", "Version of the placement of experts in force.", stats, engine.placement)
    yield _gauge("migrating", "1: ranks load experts for another placement.", stats, float(engine.migrating))
    yield _counter("migrations", "Placements of experts that ranks have moved to.", stats, engine.migrations)
    yield _counter("failed_migrations", "Moves that a rank could not load for.", stats, engine.failed_migrations)
    yield _histogram("first_token_seconds", "From the submission to the first token.", stats, engine.first_token)
    yield _histogram("token_seconds", "Mean time of an answer's token after the first.", stats, engine.token)


def _of_the_ranks(stats: ReplicaStats, ranks: tuple[RankStats, ...]) -> Iterator[Metric]:
    def gauge(name: str, meaning: str, values: list[float]) -> Metric:
        return _by_rank(GaugeMetricFamily(_name(name), meaning, labels=["replica", "rank"]), stats, values)

    def counter(name: str, meaning: str, values: list[float]) -> Metric:
        return _by_rank(CounterMetricFamily(_name(name), meaning, labels=["replica", "rank"]), stats, values)

    yield gauge("rank_alive", "1: it takes part in steps.", [rank.alive for rank in ranks])
    yield gauge("rank_running", "Sequences it holds.", [rank.running for rank in ranks])
    yield gauge("rank_batch_rows", "Tokens of its last step.", [rank.batch_rows for rank in ranks])
    yield gauge("rank_free_blocks", "Cache blocks that may be taken.", [rank.free_blocks for rank in ranks])
    yield gauge("rank_kept_blocks", "Of these, kept for prompts to come.", [rank.kept_blocks for rank in ranks])
    yield counter("rank_compute_seconds", "Time in steps.", [rank.compute_seconds for rank in ranks])
    yield counter("rank_exchange_seconds", "Of it, time in exchanges.", [rank.exchange_seconds for rank in ranks])
    yield counter("rank_expert_rows", "Rows its experts were chosen for.", [rank.expert_rows for rank in ranks])


def _expert_load(stats: ReplicaStats, engine: EngineStats) -> Metric:
    meaning = "Rows that chose an expert, by expert layer in their order."
    family = CounterMetricFamily(_name("expert_rows"), meaning, labels=["replica", "layer", "expert"])
    for layer, load in enumerate(engine.expert_load):
        for expert, rows in enumerate(load):
            family.add_metric([stats.replica, str(layer), str(expert)], rows)
    return family


def _gauge(name: str, meaning: str, stats: ReplicaStats, value: float) -> Metric:
    family = GaugeMetricFamily(_name(name), meaning, labels=["replica"])
    family.add_metric([stats.replica], value)
    return family


def _counter(name: str, meaning: str, stats: ReplicaStats, value: float) -> Metric:
    family = CounterMetricFamily(_name(name), meaning, labels=["replica"])
    family.add_metric([stats.replica], value)
    return family


def _by_rank(family: GaugeMetricFamily | CounterMetricFamily, stats: ReplicaStats, values: list[float]) -> Metric:
    for rank, value in enumerate(values):
        family.add_metric([stats.replica, str(rank)], value)
    return family


def _histogram(name: str, meaning: str, stats: ReplicaStats, durations: Durations) -> Metric:
    buckets, below = [], 0
    for bound, count in zip([*map(str, SECONDS), "+Inf"], durations.counts, strict=True):
        below += count
        buckets.append((bound, float(below)))
    family = HistogramMetricFamily(_name(name), meaning, labels=["replica"])
    family.add_metric([stats.replica], buckets, durations.total_seconds)
    return family


def _name(name: str) -> str:
    return f"countersign_engine_{name}"
