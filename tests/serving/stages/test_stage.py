"""Layers are split evenly, a stage's part is a network of its own, and what cannot be split is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.checks import CannotStart, verify
from serving.engine.local import local_engine
from serving.model.checkpoint import open_checkpoint
from serving.model.config import GroupedShape, ModelConfig
from serving.settings import ServingSettings
from serving.stages.stage import stages_of


@pytest.fixture(scope="module")
def config(tiny_checkpoint: Path) -> ModelConfig:
    return open_checkpoint(tiny_checkpoint).config


def test_every_layer_is_in_one_stage_in_its_order(config: ModelConfig) -> None:
    assert [stage.layers for stage in stages_of(config, 2)] == [range(1), range(1, 3)]
    assert [(stage.is_first, stage.is_last) for stage in stages_of(config, 3)] == [
        (True, False),
        (False, False),
        (False, True),
    ]
    (whole,) = stages_of(config, 1)
    assert whole.part_of(config) == config


def test_a_part_counts_its_own_layers_from_nought(config: ModelConfig) -> None:
    assert isinstance(config.attention, GroupedShape)
    first, last = (stage.part_of(config) for stage in stages_of(config, 2))
    assert (first.layers, first.expert_layers) == (1, ())
    assert (last.layers, last.expert_layers) == (2, (0, 1))
    assert isinstance(last.attention, GroupedShape)
    assert last.attention.sliding == config.attention.sliding[1:]
    assert last.attention.rotary == config.attention.rotary[1:]


@pytest.mark.parametrize("count", [0, 4])
def test_more_stages_than_layers_are_refused_before_any_process_starts(tiny_checkpoint: Path, count: int) -> None:
    said = f"3 layers cannot be split into {count} stages: set COUNTERSIGN_STAGES between 1 and 3"
    with pytest.raises(ValueError, match=said), local_engine(tiny_checkpoint, stages=count):
        pass


def test_a_server_with_more_stages_than_layers_does_not_start(tiny_checkpoint: Path) -> None:
    with pytest.raises(CannotStart, match="COUNTERSIGN_STAGES"):
        verify(ServingSettings(checkpoint=tiny_checkpoint, stages=4))
