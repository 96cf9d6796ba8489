"""When experts move, and that an engine whose load is skewed moves them by itself and is even afterwards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from serving.engine.engine import Engine
from serving.engine.engine_config import EngineConfig
from serving.engine.expert_load import ExpertLoad
from serving.engine.gang import Gang, RankReport
from serving.engine.generation import GenerationRequest, Message
from serving.engine.local import local_engine
from serving.engine.migration import LOOK_STEPS, PAUSE_STEPS, Migration
from serving.engine.placed import Readiness
from serving.engine.plan import CHOICE, RankAnswer
from serving.engine.told import MOST
from serving.experts.placement import Placement
from tests.serving.tiny_checkpoint import write_tiny_checkpoint

EXPERTS, WAIT = 8, 60.0  # seconds; only how long a broken test hangs
EVEN, SKEWED = [5] * 8, [20, 20, 0, 0, 0, 0, 0, 0]
HELD = {0: (0, 1, 2, 3), 1: (4, 5, 6, 7)}
UNTIL_MOVED = 3  # steps from the look to the new placement: one searches the layer, one tells the ranks, one hears them
CONFIG = EngineConfig(ranks=2, start_seconds=60.0)


class MovingGang(Gang):
    """Its ranks load as soon as they are told to, or say why not."""

    def __init__(self, reason: str = "") -> None:
        super().__init__([], [RankReport(rank, rank, 100, 40, {3: ids}) for rank, ids in HELD.items()], 0.0)
        self.reason, self.told, self.slow = reason, [], False

    def move(self, placement: Placement) -> None:
        self.told.append(placement.version)
        ready = Readiness(placement.version, self.reason)
        self.readiness = {0: ready} if self.slow else {0: ready, 1: ready}


def counted(load: ExpertLoad, rows: list[int], version: int) -> None:
    answer = RankAnswer(0, np.zeros((0, CHOICE)), np.zeros(0), None, 0.0, 0.0, np.array([rows]))
    load.add([answer, answer], version)


class Driven:
    def __init__(self, gang: Gang, config: EngineConfig = CONFIG) -> None:
        self.gang, self.load, self.now = gang, ExpertLoad(gang.placement), 0.0
        self.migration = Migration(gang, self.load, EXPERTS, config, lambda: self.now)

    def steps(self, count: int, rows: list[int]) -> list[int]:
        """By step, the placement's version."""
        versions = []
        for _ in range(count):
            versions.append(self.migration.before_step())
            counted(self.load, rows, versions[-1])
        return versions


def test_even_load_moves_nothing_and_skewed_load_does_once() -> None:
    gang = MovingGang()
    driven = Driven(gang)
    assert set(driven.steps(5 * PAUSE_STEPS, EVEN)) == {0}
    assert gang.told == []
    versions = driven.steps(2 * LOOK_STEPS + UNTIL_MOVED, SKEWED)
    assert versions[0] == 0
    assert versions[-1] == 1
    assert gang.told == [1]
    assert driven.migration.imbalance is not None
    driven.steps(3 * PAUSE_STEPS, SKEWED)
    assert gang.told == [1]  # it is even now
    assert driven.migration.imbalance == pytest.approx(1.0, abs=0.01)
    first, second = (report.expert_ids[3] for report in gang.reports)
    assert (0 in first) == (1 in second) != (0 in second)


def test_rows_count_for_the_rank_that_computed_them() -> None:
    driven = Driven(MovingGang())
    driven.steps(LOOK_STEPS + UNTIL_MOVED - 1, SKEWED)
    before = driven.load.rank_rows
    assert before[1] == 0
    driven.steps(10, SKEWED)
    assert driven.gang.placement.version == 1
    more = [now - then for now, then in zip(driven.load.rank_rows, before, strict=True)]
    assert more[0] == more[1] > 0


def test_few_rows_prove_nothing() -> None:
    gang = MovingGang()
    Driven(gang).steps(3 * LOOK_STEPS, [1, 0, 0, 0, 0, 0, 0, 0])
    assert gang.told == []


@pytest.mark.parametrize("config", [replace(CONFIG, migrate=False)], ids=["switched off"])
def test_nothing_moves_where_nobody_wants_it(config: EngineConfig) -> None:
    gang = MovingGang()
    Driven(gang, config).steps(4 * LOOK_STEPS, SKEWED)
    assert gang.told == []


def test_a_hopeless_skew_is_left_alone() -> None:
    gang = MovingGang()
    Driven(gang).steps(4 * PAUSE_STEPS, [40, 0, 0, 0, 0, 0, 0, 0])  # one expert alone, and no room for a replica
    assert gang.told == []
    Driven(gang, replace(CONFIG, spare_experts=1)).steps(4 * LOOK_STEPS, [40, 0, 0, 0, 0, 0, 0, 0])
    assert gang.told == [1]


def test_a_rank_that_cannot_load_ends_the_move_for_long() -> None:
    gang = MovingGang(reason="CheckpointError: gone")
    driven = Driven(gang)
    assert set(driven.steps(4 * PAUSE_STEPS, SKEWED)) == {0}
    assert gang.told == [1, 0]  # all are told to stay with what they have
    assert (driven.migration.failed, driven.migration.done, driven.migration.coming) == (1, 0, False)
    gang.reason = ""
    assert set(driven.steps(20 * PAUSE_STEPS, SKEWED)) == {0, 2}  # never the version of an attempt that failed


def test_a_rank_that_loads_for_ever_ends_the_move() -> None:
    gang = MovingGang()
    gang.slow = True
    driven = Driven(gang)
    driven.steps(LOOK_STEPS + 5, SKEWED)
    assert driven.migration.coming
    driven.now = CONFIG.start_seconds + 1
    driven.steps(2 * MOST, SKEWED)  # so many may have been sent before the first of them comes back
    assert driven.migration.coming
    assert driven.steps(1, SKEWED) == [0]
    assert (driven.migration.failed, gang.told) == (1, [1, 0])


def test_a_pause_between_questions_is_no_slow_loading() -> None:
    gang = MovingGang()
    gang.slow = True
    driven = Driven(gang)
    driven.steps(LOOK_STEPS + UNTIL_MOVED - 1, SKEWED)
    assert driven.migration.coming
    driven.now = CONFIG.start_seconds + 1  # no step, no word: it had long loaded
    assert driven.steps(1, SKEWED) == [0]
    gang.readiness[1] = gang.readiness[0]
    assert driven.steps(1, SKEWED) == [1]
    assert driven.migration.failed == 0


@pytest.fixture(scope="module")
def skewed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every row chooses among the first three experts, all of them the first rank's."""
    directory = write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoints") / "skewed")
    weights = load_file(directory / "model.safetensors")
    for name in [name for name in weights if name.endswith("expert_bias")]:
        weights[name][:3] += 10.0
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    return directory


def answers(engine: Engine) -> list[list[tuple[int, float]]]:
    """Of several sequences on both ranks: ids and log-probabilities."""
    asked = [GenerationRequest(f"{n}", (Message("user", f"{n}?"),), max_tokens=60, temperature=0.0) for n in range(6)]
    flights = [engine.submit(one) for one in asked]
    return [[(token.token_id, token.logprob) for token in flight.result(WAIT).tokens] for flight in flights]


def test_an_engine_evens_a_skewed_load_by_itself_and_answers_the_same(skewed: Path) -> None:
    sizes = {"kv_tokens": 1024, "most_running": 4, "step_tokens": 32, "spare_experts": 1}
    with local_engine(skewed, ranks=2, **sizes) as engine:
        first, before = answers(engine), engine.stats()
        assert before.placement == 0
        assert before.imbalance == pytest.approx(2.0)
        for _ in range(40):  # a look every 64 steps, and a few steps to load
            answers(engine)
            moved = engine.stats()
            if moved.migrations:
                break
        again, after = answers(engine), engine.stats()
        assert after.placement >= 1
        assert after.failed_migrations == 0
        computed = [now.expert_rows - then.expert_rows for now, then in zip(after.ranks, moved.ranks, strict=True)]
        assert max(computed) / np.mean(computed) < 1.4
        assert any({0, 1, 2} & set(report.expert_ids[1]) for report in engine.reports[1:])
        assert all(0 <= report.expert <= 2 * 5 * 3 * 32 * 24 for report in engine.reports)
        for found, wanted in zip(again, first, strict=True):
            assert [token for token, _ in found] == [token for token, _ in wanted]
            assert [logprob for _, logprob in found] == pytest.approx([logprob for _, logprob in wanted], abs=1e-4)
