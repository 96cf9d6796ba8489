"""A replica's settings become its engine's sizes and limits, whatever machine it runs on."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

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
