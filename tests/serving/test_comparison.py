"""A replica compares an answer with samples of its own engine: only inside the band, and at most four."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from serving.answer import Answer, Step
from serving.ask import Ask, CalibrationReference
from serving.comparison import sample_request
from serving.confidence.calibration import Calibration, Stage, calibration_from_json, calibration_to_json
from serving.confidence.cascade import Cascade
from serving.confidence.score import IsotonicMap, Shape
from serving.engine.engine import Engine
from serving.engine.errors import RankLost
from serving.engine.generation import GenerationRequest, Message
from serving.engine.local import local_engine
from serving.replica import Replica
from serving.settings import ServingSettings
from tests.serving.tiny_checkpoint import write_tiny_checkpoint

ASK = Ask((Message("user", "What is 12 + 30?"),), max_tokens=6, temperature=0.0, seed=3)


class OneEngine:
    """A gang of one local engine that counts what is asked of it, and may fail from some request on."""

    epoch = 1

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.requests: list[GenerationRequest] = []
        self.fails_from = 99

    async def running_engine(self, seconds: float) -> OneEngine:
        return self

    reports = ()

    def submit(self, request: GenerationRequest) -> object:
        self.requests.append(request)
        if len(self.requests) > self.fails_from:
            raise RankLost(0, "pulled out by the test")
        return self.engine.submit(request)


class Unchecked:
    """Nothing is known of any step: starting a child process would tell nothing of samples."""

    async def steps(self, question: str, text: str) -> tuple[Step, ...]:
        return ()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with local_engine(write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")) as found:
        yield found


@pytest.fixture
def replica(engine: Engine, tmp_path: Path) -> Replica:
    found = Replica("replica-1", ServingSettings(home=tmp_path, checkpoint=engine.checkpoint.directory), cpu_share=0.1)
    found.backend = OneEngine(engine)  # type: ignore[assignment]
    found._verifier = Unchecked()  # type: ignore[assignment]
    return found


def says(model: str, *values: float) -> CalibrationReference:
    """A calibration that reports the n-th value with n samples, whatever the answer is."""
    indifferent = (Shape("length", ((0.0, 0.0), (1.0, 0.0)), None),)
    maps = [IsotonicMap(((0.0, value),)) for value in values]
    made = Calibration(
        model=model,
        shapes=indifferent,
        intercept=0.0,
        map=maps[0],
        fitted_at=1.0,
        rows=1_000,
        accuracy=0.5,
        stages=tuple(Stage(indifferent, 0.0, each) for each in maps[1:]),
        cascade=Cascade(0.1, 0.93, len(values) - 1, 1.0) if len(values) > 1 else None,
    )
    return reference(made)


def reference(made: Calibration) -> CalibrationReference:
    return CalibrationReference(made.id, calibration_to_json(made))


def answered(replica: Replica, calibration: CalibrationReference, ask: Ask = ASK) -> Answer:
    return asyncio.run(replica.ask(replace(ask, calibration=calibration), None))


def requests(replica: Replica) -> list[GenerationRequest]:
    return replica.backend.requests  # type: ignore[attr-defined, no-any-return]


def test_inside_the_band_four_samples_are_drawn_and_told(replica: Replica) -> None:
    answer = answered(replica, says(replica.model.id, 0.5, 0.5, 0.6, 0.7, 0.8))
    assert (answer.confidence.value, answer.confidence.samples) == (0.8, 4)
    samples = requests(replica)[1:]
    assert [each.temperature for each in samples] == [1.0] * 4
    assert len({each.seed for each in samples}) == 4
    assert answer.usage.completion_tokens <= 6
    assert 4 <= answer.sampled.completion_tokens <= 24
    assert answer.sampled.prompt_tokens == 4 * answer.usage.prompt_tokens
    assert answer.timings_ms["samples"] > 0.0


@pytest.mark.parametrize("value", [0.05, 0.1, 0.93, 0.97])
def test_outside_the_band_nothing_more_is_drawn(replica: Replica, value: float) -> None:
    answer = answered(replica, says(replica.model.id, value, 0.5))
    assert (answer.confidence.value, answer.confidence.samples) == (value, 0)
    assert len(requests(replica)) == 1
    assert "samples" not in answer.timings_ms


def test_drawing_ends_as_soon_as_a_sample_settles_it(replica: Replica) -> None:
    answer = answered(replica, says(replica.model.id, 0.5, 0.5, 0.96, 0.5))
    assert (answer.confidence.value, answer.confidence.samples, len(requests(replica))) == (0.96, 2, 3)


def test_a_sample_that_fails_leaves_what_was_reached(replica: Replica) -> None:
    replica.backend.fails_from = 2  # type: ignore[attr-defined]
    answer = answered(replica, says(replica.model.id, 0.5, 0.55, 0.6))
    assert (answer.confidence.value, answer.confidence.samples) == (0.55, 1)
    assert replica.held == 0


def test_a_calibration_without_stages_draws_nothing(replica: Replica) -> None:
    answer = answered(replica, says(replica.model.id, 0.5))
    assert (answer.confidence.value, len(requests(replica))) == (0.5, 1)


def test_a_busy_replica_draws_nothing(replica: Replica) -> None:
    replica.held = replica.settings.max_asks // 2
    answer = answered(replica, says(replica.model.id, 0.5, 0.9))
    assert (answer.confidence.value, answer.confidence.samples) == (0.5, 0)


def test_no_time_for_samples_draws_none(replica: Replica, tmp_path: Path) -> None:
    replica.settings = replica.settings.model_copy(update={"sample_seconds": 0.0})
    answer = answered(replica, says(replica.model.id, 0.5, 0.9))
    assert (answer.confidence.value, len(requests(replica))) == (0.5, 1)


def test_the_same_seed_gives_the_same_samples_and_so_the_same_confidence(replica: Replica) -> None:
    free = says(replica.model.id, 0.5, 0.5).body or {}
    agreeing = {"signal": "agreement", "points": [[0.0, -3.0], [1.0, 3.0]], "missing": None}
    stage = {**free["stages"][0], "shapes": [agreeing]}
    stage["map"] = {"kind": "platt", "slope": 1.0, "offset": 0.0, "low": 0.0, "high": 1.0}
    body = {name: value for name, value in free.items() if name != "id"} | {"stages": [stage]}
    calibration = reference(calibration_from_json(body))
    once, twice = answered(replica, calibration), answered(replica, calibration)
    assert once.confidence == twice.confidence


def test_an_answer_and_its_samples_share_their_prompt_in_the_cache(replica: Replica) -> None:
    answered(replica, says(replica.model.id, 0.5, 0.5, 0.6))
    assert {each.cache_salt for each in requests(replica)} == {ASK.cache_salt}


def test_samples_are_asked_for_as_when_fitting(replica: Replica) -> None:
    ask = replace(ASK, temperature=0.3, top_p=0.2, stop=("\n",))
    sample = sample_request(ask, 1, Cascade(0.1, 0.9, 4, 0.8))
    assert (sample.temperature, sample.top_p, sample.stop, sample.max_tokens) == (0.8, None, ("\n",), 6)
