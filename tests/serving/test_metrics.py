"""A replica's figures read the same as JSON and as Prometheus text."""

from __future__ import annotations

import time
from collections.abc import Iterator

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.engine.stats import SECONDS, Durations, EngineStats, RankStats
from serving.metrics import ReplicaStats, stats_to_json, stats_to_prometheus

COUNTS = (*range(len(SECONDS)), 2)


def rank(number: int) -> RankStats:
    return RankStats(number, 100 + number, number == 0, 3, 7, 90, 20, 1.5, 0.25, 30 + number)


def engine() -> EngineStats:
    return EngineStats(
        alive=True,
        waiting=4,
        running=6,
        running_limit=8,
        chunk_limit=64,
        steps=11,
        finished=5,
        generated_tokens=77,
        prompt_tokens=120,
        reused_tokens=48,
        reused_prompts=2,
        kv_blocks=100,
        ranks=(rank(0), rank(1)),
        expert_load=((1, 2, 3), (4, 5, 6)),
        imbalance=1.25,
        imbalance_lately=1.5,
        placement=3,
        migrating=True,
        migrations=2,
        failed_migrations=1,
        first_token=Durations(COUNTS, 3.5),
        token=Durations(COUNTS, 0.5),
        last_step_at=time.monotonic(),
    )


def samples(stats: ReplicaStats) -> Iterator[tuple[str, dict[str, str], float]]:
    for family in text_string_to_metric_families(stats_to_prometheus(stats).decode()):
        for sample in family.samples:
            yield sample.name.removeprefix("countersign_engine_"), sample.labels, sample.value


def test_json_has_every_field_and_no_clock_of_this_process() -> None:
    found = orjson.loads(orjson.dumps(stats_to_json(ReplicaStats("r1", 2, True, 9, engine()))))
    assert (found["replica"], found["epoch"], found["asks"]) == ("r1", 2, 9)
    assert found["engine"]["ranks"][1] == {**found["engine"]["ranks"][0], "rank": 1, "pid": 101, "alive": False,
                                           "expert_rows": 31}  # fmt: skip
    assert "last_step_at" not in found["engine"]
    assert 0 <= found["engine"]["seconds_since_step"] < 60
    assert len(found["engine"]["duration_bounds"]) + 1 == len(found["engine"]["token"]["counts"])


def test_every_series_names_its_replica() -> None:
    assert {labels["replica"] for _, labels, _ in samples(ReplicaStats("r1", 2, True, 9, engine()))} == {"r1"}


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("waiting", {}, 4),
        ("running_limit", {}, 8),
        ("generated_tokens_total", {}, 77),
        ("reused_tokens_total", {}, 48),
        ("imbalance", {}, 1.25),
        ("imbalance_lately", {}, 1.5),
        ("placement", {}, 3),
        ("migrating", {}, 1),
        ("migrations_total", {}, 2),
        ("failed_migrations_total", {}, 1),
        ("rank_alive", {"rank": "1"}, 0),
        ("rank_free_blocks", {"rank": "0"}, 90),
        ("expert_rows_total", {"layer": "1", "expert": "2"}, 6),
        ("first_token_seconds_sum", {}, 3.5),
        ("first_token_seconds_count", {}, sum(COUNTS)),
        ("first_token_seconds_bucket", {"le": "0.005"}, sum(COUNTS[:3])),
    ],
)
def test_a_figure_is_told_to_whoever_collects(name: str, labels: dict[str, str], value: float) -> None:
    told = [sample for sample in samples(ReplicaStats("r1", 2, True, 9, engine())) if sample[0] == name]
    assert (name, {"replica": "r1", **labels}, value) in told


def test_while_ranks_are_replaced_there_are_no_figures_of_an_engine() -> None:
    starting = ReplicaStats("r1", 3, False, 9, None)
    assert stats_to_json(starting)["engine"] is None
    assert {name: value for name, _, value in samples(starting)} == {"ready": 0, "asks": 9}
