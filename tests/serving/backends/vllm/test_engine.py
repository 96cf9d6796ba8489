"""Over whatever generates: admission, giving up, losses and closing are those of the native engine's contract."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from serving.backends.vllm.arguments import VllmSizes
from serving.backends.vllm.checkpoint import open_any_checkpoint
from serving.backends.vllm.engine import VllmEngine
from serving.backends.vllm.flight import VllmToken
from serving.engine.errors import ContextTooLong, EngineClosed, InvalidRequest, Overloaded, RankLost
from serving.engine.generation import GenerationRequest, Message
from serving.metrics import ReplicaStats, stats_to_json, stats_to_prometheus
from tests.serving.backends.foreign_checkpoint import write_llama
from tests.serving.backends.vllm.scripted import ScriptedGenerator, token
from training.tokens import EOS

HI = [token(ord("h")), token(ord("i"))]
SECONDS = 10


def asked(request_id: str = "one", **changes: object) -> GenerationRequest:
    return GenerationRequest(request_id, (Message("user", "2+2?"),), **changes)  # type: ignore[arg-type]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_llama(tmp_path / "llama")


@contextmanager
def running(
    checkpoint: Path, said: Sequence[VllmToken | Exception | None], **sizes: int
) -> Iterator[tuple[VllmEngine, ScriptedGenerator]]:
    generator = ScriptedGenerator(said)
    engine = VllmEngine(generator, open_any_checkpoint(checkpoint), VllmSizes(**sizes))
    try:
        yield engine, generator
    finally:
        engine.close()


def test_an_answer_is_counted(checkpoint: Path) -> None:
    with running(checkpoint, [*HI, token(EOS)]) as (engine, generator):
        answer = engine.submit(asked()).result(SECONDS)
        generator.load.steps = 3
        stats = engine.stats()

    assert (answer.text, answer.finish_reason, answer.usage.completion_tokens) == ("hi", "stop", 3)
    assert (stats.finished, stats.generated_tokens, stats.steps) == (1, 3, 3)
    assert (stats.running, stats.waiting, stats.alive) == (0, 0, True)


def test_its_figures_can_be_told_although_vllm_does_not_tell_all(checkpoint: Path) -> None:
    with running(checkpoint, HI) as (engine, _):
        stats = ReplicaStats("replica", 1, True, 0, engine.stats())
    assert [rank["pid"] for rank in stats_to_json(stats)["engine"]["ranks"]] == [1234, 1235]
    assert b'rank_compute_seconds_total{rank="0",replica="replica"} NaN' in stats_to_prometheus(stats)


def test_a_stop_string_gives_the_rest_up(checkpoint: Path) -> None:
    with running(checkpoint, [*HI, None]) as (engine, generator):
        assert engine.submit(asked(stop=("i",))).result(SECONDS).text == "h"
    assert generator.given_up == ["one"]


def test_cancelling_gives_the_generation_up_and_frees_its_place(checkpoint: Path) -> None:
    with running(checkpoint, [None], most_running=1, most_waiting=0) as (engine, generator):
        future = engine.submit(asked())
        with pytest.raises(Overloaded):
            engine.submit(asked("two"))
        landed = watch(engine)
        assert future.cancel()
        assert landed.wait(SECONDS)
        assert not engine.submit(asked("three")).done()
    assert generator.given_up[0] == "one"


def test_a_request_in_flight_is_not_taken_twice(checkpoint: Path) -> None:
    with running(checkpoint, [None]) as (engine, _):
        engine.submit(asked())
        with pytest.raises(InvalidRequest, match="already in flight"):
            engine.submit(asked())


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"max_tokens": 200}, ContextTooLong),
        ({"max_tokens": 0}, InvalidRequest),
        ({"temperature": 3.0}, InvalidRequest),
        ({"top_logprobs": 21}, InvalidRequest),
        ({"stop": ("x",) * 65}, InvalidRequest),
    ],
    ids=str,
)
def test_what_the_native_engine_refuses_is_refused(
    checkpoint: Path, changes: dict[str, object], error: type[Exception]
) -> None:
    with running(checkpoint, HI) as (engine, _), pytest.raises(error):
        engine.submit(asked(**changes))


def test_the_context_is_what_the_cache_holds_where_that_is_less(checkpoint: Path) -> None:
    with running(checkpoint, HI) as (engine, generator), pytest.raises(ContextTooLong) as caught:
        engine.submit(asked(max_tokens=generator.longest))
    assert caught.value.limit == generator.longest < engine.checkpoint.context_length


def test_a_loss_fails_what_is_in_flight_with_its_own_error(checkpoint: Path) -> None:
    with running(checkpoint, [HI[0], RankLost(None, "vLLM's engine died")]) as (engine, generator):
        with pytest.raises(RankLost, match="died"):
            engine.submit(asked()).result(SECONDS)
        generator.dead = "vLLM's engine died"
        with pytest.raises(RankLost):
            engine.submit(asked("two"))
        assert engine.lost
        assert not engine.stats().alive


def test_what_nobody_foresaw_is_a_loss_too(checkpoint: Path) -> None:
    with running(checkpoint, [ZeroDivisionError()]) as (engine, _), pytest.raises(RankLost, match="ZeroDivisionError"):
        engine.submit(asked()).result(SECONDS)


def test_an_output_without_an_end_is_a_loss(checkpoint: Path) -> None:
    with running(checkpoint, HI) as (engine, _), pytest.raises(RankLost, match="without a reason"):
        engine.submit(asked()).result(SECONDS)


def test_closing_fails_what_is_in_flight_and_takes_no_more(checkpoint: Path) -> None:
    with running(checkpoint, [None]) as (engine, _):
        future = engine.submit(asked())
    with pytest.raises(EngineClosed):
        future.result(SECONDS)
    with pytest.raises(EngineClosed):
        engine.submit(asked("two"))
    assert engine.lost is None


def watch(engine: VllmEngine) -> threading.Event:
    """Set when a generation has left the engine."""
    landed, land = threading.Event(), engine._land

    def told(*outcome: object) -> None:
        land(*outcome)  # type: ignore[arg-type]
        landed.set()

    engine._land = told  # type: ignore[method-assign]
    return landed
