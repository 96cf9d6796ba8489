"""Makes the files by which ranks find each other in an epoch: an exchange for each stage, handoffs between two."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serving.engine.engine_config import EngineConfig
from serving.engine.errors import RankLost
from serving.experts.shm_layout import SharedMemoryFull, Sized, create_shared_file, shm_layout
from serving.model.config import ModelConfig
from serving.stages.handoff_layout import handoff_layout


@dataclass(frozen=True, slots=True)
class MeetingPoint:
    """Paths that one rank opens. Whoever opens a handoff waits for its other end: all open the inward one first."""

    exchange: str | None  # with the other ranks of its stage; None: it is alone there
    inward: str | None  # from the stage before; None: there is none
    outward: str | None  # to the stage after


@contextmanager
def meeting_points(model: ModelConfig, config: EngineConfig) -> Iterator[list[MeetingPoint]]:
    """For each rank in order; gone once they have them open, so a killed driver leaves nothing behind.

    Raises RankLost where shared memory has no room for them.
    """
    with tempfile.TemporaryDirectory(prefix="countersign-") as directory:  # mode 0700
        files = _Files(Path(directory), in_memory=config.exchange == "shm")
        try:
            yield _points(files, model, config)
        finally:
            files.remove()


def _points(files: _Files, model: ModelConfig, config: EngineConfig) -> list[MeetingPoint]:
    exchange = shm_layout(model, config.ranks, config.step_tokens)
    handoff = handoff_layout(model, config.step_tokens)
    alone = config.ranks == 1
    ends: list[str | None] = [None] * config.ranks
    exchanges = [None if alone else files.make(f"exchange-{stage}", exchange) for stage in range(config.stages)]
    links: list[str | None] = [files.make(f"handoff-{n}", handoff) for n in range(config.places - config.ranks)]
    return [
        MeetingPoint(exchanges[rank // config.ranks], inward, outward)
        for rank, (inward, outward) in enumerate(zip(ends + links, links + ends, strict=True))
    ]


class _Files:
    def __init__(self, directory: Path, *, in_memory: bool) -> None:
        """`in_memory`: shared memory, made here; else whoever opens a file makes it."""
        self._directory, self._in_memory, self._made = directory, in_memory, list[Path]()

    def make(self, name: str, layout: Sized) -> str:
        path = self._directory / name
        if self._in_memory:
            memory = Path("/dev/shm")  # noqa: S108 - files are created exclusively, for this user only
            path = memory / f"{self._directory.name}-{name}" if os.access(memory, os.W_OK) else path
            self._made.append(path)
            try:
                create_shared_file(path, layout)
            except SharedMemoryFull as error:
                raise RankLost(None, str(error)) from error
        return str(path)

    def remove(self) -> None:
        for path in self._made:
            path.unlink(missing_ok=True)
