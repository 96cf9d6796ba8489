"""Starts an engine whose ranks are plain subprocesses of this one: for tests, calibration and benchmarks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serving.engine.engine import Engine
from serving.engine.engine_config import EngineConfig
from serving.engine.errors import RankLost
from serving.engine.gang import Gang
from serving.engine.rendezvous import Rendezvous
from serving.experts.rank_settings import settings_to_json
from serving.model.checkpoint import Checkpoint, open_checkpoint

_END_SECONDS = 5.0


@contextmanager
def local_engine(checkpoint: Path | str, ranks: int = 1, **config: Any) -> Iterator[Engine]:
    """`config` are fields of EngineConfig. Raises CheckpointError or RankLost when it cannot start."""
    opened, sizes = open_checkpoint(checkpoint), EngineConfig(ranks=ranks, **config)
    with local_gang(opened, sizes) as gang:
        engine = Engine(gang, opened, sizes)
        try:
            yield engine
        finally:
            engine.close()


@contextmanager
def local_gang(checkpoint: Checkpoint, config: EngineConfig) -> Iterator[Gang]:
    """The ranks alone, without a scheduler: plans go in, answers come out."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        with Rendezvous(checkpoint, config) as rendezvous:
            for rank in range(config.ranks):
                command = [sys.executable, "-m", "serving.experts.rank", settings_to_json(rendezvous.settings(rank))]
                processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))  # noqa: S603
            gang = rendezvous.assemble(lambda: _all_alive(processes))
        try:
            yield gang
        finally:
            gang.close()
    finally:
        for process in processes:
            _end(process)


def _all_alive(processes: list[subprocess.Popen[bytes]]) -> None:
    for rank, process in enumerate(processes):
        if process.poll() is not None:
            raise RankLost(rank, f"its process ended with {process.returncode} while it started")


def _end(process: subprocess.Popen[bytes]) -> None:
    """The closed control socket ends a rank; one that hangs in an exchange is killed."""
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
