"""Experts move between real ranks while these answer; a rank may fail to load or be lost on the way."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from serving.engine.engine_config import EngineConfig
from serving.engine.errors import RankLost
from serving.engine.expert_load import ExpertLoad
from serving.engine.gang import Gang
from serving.engine.local import LocalRanks
from serving.engine.migration import Migration
from serving.engine.scheduler import Scheduler
from serving.experts.placement import Held, Placement
from serving.model.checkpoint import open_checkpoint
from tests.serving.teacher import Logits, logits_of
from tests.serving.tiny_checkpoint import some_prompt

BLOCK, EXPERTS, LAYERS = 4, 8, (1, 2)
CONFIG = EngineConfig(ranks=2, block_size=BLOCK, kv_tokens=512, step_tokens=64, most_running=8, spare_experts=1)
TEXTS, PROMPTS = [some_prompt(30, seed=30), some_prompt(12, seed=12)], [20, 5]
FIRST: Held = ((0, 3, 4, 5, 6), (0, 1, 2, 5, 7))
SECOND: Held = ((2, 3, 6, 7), (0, 1, 4, 5))
EACH = 3 * 32 * 24  # parameters of an expert


def placed(held: Held, version: int) -> Placement:
    return Placement(2, dict.fromkeys(LAYERS, held), version)


def ask(gang: Gang) -> list[Logits]:
    scheduler = Scheduler(2, 512 // BLOCK, BLOCK, 64, 4)
    return logits_of(gang, scheduler, TEXTS, PROMPTS, BLOCK)


def check(gang: Gang, expected: list[Logits]) -> None:
    for got, wanted in zip(ask(gang), expected, strict=True):
        assert np.abs(got - wanted).max() < 1e-4


def replace_rank(ranks: LocalRanks, gang: Gang, epoch: int) -> Gang:
    os.kill(ranks.roster.pids[1], signal.SIGKILL)
    with pytest.raises(RankLost):
        ask(gang)
    gang.close()
    assert len(ranks.roster.muster(epoch)) == 1
    ranks.roster.fill(ranks.start(1))
    return ranks.roster.assemble(epoch)


def test_what_cannot_be_loaded_or_is_lost_on_the_way_leaves_the_placement_in_force(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    directory = Path(shutil.copytree(tiny_checkpoint, tmp_path / "copy"))
    with LocalRanks(open_checkpoint(directory), CONFIG) as ranks:
        ranks.roster.fill(ranks.start(2))
        gang = ranks.roster.assemble(1)
        expected, shared = ask(gang), gang.reports[0].total - gang.reports[0].expert

        migration = Migration(gang, ExpertLoad(gang.placement), EXPERTS, CONFIG)
        weights, aside = directory / "model.safetensors", tmp_path / "aside"
        shutil.move(weights, aside)
        weights.write_bytes(aside.read_bytes()[:1000])
        gang.move(placed(FIRST, 1))
        while len(gang.readiness) < 2:
            check(gang, expected)
        assert all("CheckpointError" in ready.reason for ready in gang.readiness.values())
        migration.begin(placed(FIRST, 1))
        while migration.coming:
            migration.before_step()
            check(gang, expected)
        assert (migration.failed, migration.done, gang.placement.version) == (1, 0, 0)

        shutil.move(aside, weights)  # who mends the file gets the next attempt through
        migration.begin(placed(FIRST, 1))
        while migration.coming:
            migration.before_step()
            check(gang, expected)
        assert (migration.failed, migration.done, gang.placement) == (1, 1, placed(FIRST, migration.in_force))
        assert [report.expert_ids[1] for report in gang.reports] == list(FIRST)
        assert [report.expert for report in gang.reports] == [2 * 5 * EACH] * 2
        assert [report.total for report in gang.reports] == [shared + 2 * 5 * EACH] * 2

        in_force = gang.placement
        gang.move(placed(SECOND, 7))
        gang = replace_rank(ranks, gang, epoch=2)  # while they load: nobody has switched
        assert gang.placement == in_force
        check(gang, expected)

        gang.move(placed(SECOND, 8))
        while len(gang.readiness) < 2:
            check(gang, expected)
        gang.put_in_force(placed(SECOND, 8))
        gang = replace_rank(ranks, gang, epoch=3)  # all had loaded, and no step by it came about
        assert gang.placement == placed(SECOND, 8)
        assert [report.expert for report in gang.reports] == [2 * 4 * EACH] * 2
        check(gang, expected)
