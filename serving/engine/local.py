"""Starts an engine whose ranks are plain subprocesses of this one: for tests, calibration and benchmarks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from serving.engine.engine import Engine
from serving.engine.engine_config import EngineConfig
from serving.engine.errors import RankLost
from serving.engine.gang import Gang
from serving.engine.rendezvous import GangMember, Rendezvous
from serving.engine.roster import Roster
from serving.experts.rank_settings import settings_to_json
from serving.model.checkpoint import Checkpoint, open_checkpoint
from serving.own_folder import sweep

_END_SECONDS = 5.0


@contextmanager
def local_engine(checkpoint: Path | str, ranks: int = 1, **config: Any) -> Iterator[Engine]:
    """`config` are fields of EngineConfig. Raises CheckpointError, RankLost or ValueError when it cannot start."""
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
    with LocalRanks(checkpoint, config) as ranks:
        ranks.roster.fill(ranks.start(config.places))
        yield ranks.roster.assemble(epoch=1)


class LocalRanks:
    """Rank processes of one gang; all have ended after the block."""

    def __init__(self, checkpoint: Checkpoint, config: EngineConfig) -> None:
        self._checkpoint, self._config = checkpoint, config
        self._processes: list[subprocess.Popen[bytes]] = []
        self._started: list[GangMember] = []
        self.roster = Roster(checkpoint, config)

    def start(self, count: int) -> list[GangMember]:
        """New processes that could take a place. Raises RankLost."""
        with Rendezvous(self._checkpoint, self._config) as rendezvous:
            command = [sys.executable, "-m", "serving.experts.rank", settings_to_json(rendezvous.settings())]
            begun = [subprocess.Popen(command, stdin=subprocess.DEVNULL) for _ in range(count)]  # noqa: S603
            self._processes += begun
            members = rendezvous.accept(count, lambda: _all_alive(begun))
        self._started += members
        return members

    def __enter__(self) -> LocalRanks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in self._started:
            member.channel.close()
        for process in self._processes:
            _end(process)
        sweep()  # after those that were killed


def _all_alive(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is not None:
            raise RankLost(None, f"its process ended with {process.returncode} while it started")


def _end(process: subprocess.Popen[bytes]) -> None:
    """The closed control socket ends a rank; one that hangs in an exchange is killed."""
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
