"""A replica's settings become its engine's sizes and limits, whatever machine it runs on."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from pydantic import ValidationError

from serving.engine.engine_config import EngineConfig
from serving.replica import Replica
from serving.settings import ServingSettings


def config_of(checkpoint: Path, **settings: object) -> EngineConfig:
    return Replica("replica", ServingSettings(checkpoint=checkpoint, **settings), 1.0).backend.config  # type: ignore[arg-type]


@pytest.mark.parametrize(("machine", "exchange"), [("x86_64", "shm"), ("aarch64", "gloo")])
def test_unless_told_ranks_exchange_rows_as_the_processor_allows(
    machine: str, exchange: str, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COUNTERSIGN_EXCHANGE", raising=False)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert config_of(tiny_checkpoint).exchange == exchange
    assert EngineConfig().exchange == exchange
    assert config_of(tiny_checkpoint, exchange="gloo").exchange == "gloo"


def test_nccl_is_refused_with_the_reason() -> None:
    with pytest.raises(ValidationError, match="ranks compute on CPUs: take shm or gloo"):
        ServingSettings(exchange="nccl")  # type: ignore[arg-type]


def test_moving_experts_is_set_up_as_told(tiny_checkpoint: Path) -> None:
    assert (config_of(tiny_checkpoint).migrate, config_of(tiny_checkpoint).spare_experts) == (True, 0)
    told = config_of(tiny_checkpoint, migrate_experts=False, spare_experts=2)
    assert (told.migrate, told.spare_experts) == (False, 2)


def test_the_cache_has_the_tokens_told_in_whole_blocks(tiny_checkpoint: Path) -> None:
    assert config_of(tiny_checkpoint).kv_tokens == EngineConfig().kv_tokens
    told = config_of(tiny_checkpoint, kv_tokens=100)
    assert (told.kv_tokens, told.kv_blocks, told.block_size) == (100, 7, 16)


def test_a_cache_shorter_than_the_context_shortens_it(tiny_checkpoint: Path) -> None:
    replica = Replica("replica", ServingSettings(checkpoint=tiny_checkpoint, kv_tokens=100), 1.0)
    assert replica.model.context_length == 112
