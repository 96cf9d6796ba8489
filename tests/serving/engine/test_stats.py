"""An engine's figures agree with what it was asked and what it answered."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.engine.engine import Engine
from serving.engine.errors import RankLost
from serving.engine.generation import Generated, GenerationRequest, Message
from serving.engine.local import local_engine
from tests.serving.tiny_checkpoint import CONTEXT

SIZES = {"kv_tokens": 4 * CONTEXT, "most_running": 4, "step_tokens": 32}
WAIT = 60.0  # seconds; only how long a broken test hangs
EXPERTS, EXPERT_LAYERS, CHOSEN = 8, 2, 2  # of the tiny checkpoint


@pytest.fixture
def engine(tiny_checkpoint: Path) -> Iterator[Engine]:
    with local_engine(tiny_checkpoint, ranks=2, **SIZES) as engine:
        yield engine


def answer(engine: Engine, name: str, text: str, max_tokens: int) -> Generated:
    request = GenerationRequest(name, (Message("user", text),), max_tokens=max_tokens, temperature=0.0)
    return engine.submit(request).result(WAIT)


def test_tokens_prompts_and_waiting_times_are_counted(engine: Engine) -> None:
    found = [answer(engine, str(number), "What is 2 + 2, and what is 3 + 3?", 6) for number in range(3)]
    stats = engine.stats()
    assert stats.finished == 3
    assert stats.generated_tokens == sum(generated.usage.completion_tokens for generated in found)
    assert stats.prompt_tokens == sum(generated.usage.prompt_tokens for generated in found)
    assert stats.reused_tokens == sum(generated.reused_tokens for generated in found) > 0
    assert stats.reused_prompts == 2
    assert sum(stats.first_token.counts) == sum(stats.token.counts) == 3
    waited = sum(generated.timings_ms["queue"] + generated.timings_ms["prefill"] for generated in found)
    assert stats.first_token.total_seconds == pytest.approx(waited / 1e3)
    assert (stats.waiting, stats.running) == (0, 0)
    assert sum(rank.kept_blocks for rank in stats.ranks) > 0


def test_every_row_of_every_layer_counts_for_the_experts_it_chose(engine: Engine) -> None:
    found = [answer(engine, str(number), "x" * 10 * number, 5) for number in range(1, 4)]
    stats = engine.stats()
    rows = sum(g.usage.prompt_tokens - g.reused_tokens + g.usage.completion_tokens - 1 for g in found)
    assert [len(load) for load in stats.expert_load] == [EXPERTS] * EXPERT_LAYERS
    assert [sum(load) for load in stats.expert_load] == [rows * CHOSEN] * EXPERT_LAYERS
    halves = [sum(sum(load[: EXPERTS // 2]) for load in stats.expert_load)]
    halves.append(sum(map(sum, stats.expert_load)) - halves[0])
    assert [rank.expert_rows for rank in stats.ranks] == halves  # each rank holds a half
    assert stats.imbalance == pytest.approx(max(halves) / (sum(halves) / 2))


def test_before_the_first_step_nothing_is_unbalanced(engine: Engine) -> None:
    stats = engine.stats()
    assert stats.imbalance is None
    assert stats.expert_load == ()
    assert all(rank.alive for rank in stats.ranks)
    assert [rank.pid for rank in stats.ranks] == [report.pid for report in engine.reports]


def test_the_rank_that_was_lost_is_told_from_those_that_were_not(engine: Engine) -> None:
    request = GenerationRequest("lost", (Message("user", "x"),), max_tokens=CONTEXT - 8)
    future = engine.submit(request)
    os.kill(engine.reports[1].pid, signal.SIGKILL)
    with pytest.raises(RankLost):
        future.result(WAIT)
    engine.close()
    stats = engine.stats()
    assert not stats.alive
    lost = engine.lost
    assert lost is not None
    assert [rank.alive for rank in stats.ranks] == [lost.rank == 1, False]
