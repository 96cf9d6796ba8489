"""Where ranks meet has room before they come, and nothing of it stays."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from serving.engine.engine_config import EngineConfig
from serving.engine.errors import RankLost
from serving.engine.meeting import meeting_points
from serving.experts.shm_layout import SharedMemoryFull, create_shared_file
from serving.model.checkpoint import open_checkpoint

MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Size:
    size: int


def test_a_shared_file_has_its_memory_from_the_beginning(tmp_path: Path) -> None:
    create_shared_file(tmp_path / "exchange", Size(1_000_000))
    told = (tmp_path / "exchange").stat()
    assert (told.st_size, told.st_mode & 0o777) == (1_000_000, 0o600)
    assert told.st_blocks * 512 >= 1_000_000


def test_more_than_there_is_is_refused_in_words_and_leaves_nothing() -> None:
    whole = os.statvfs(MEMORY)
    path = MEMORY / f"countersign-test-{os.getpid()}"
    with pytest.raises(SharedMemoryFull, match=r"^/dev/shm has no room for the .* MiB .*COUNTERSIGN_EXCHANGE=gloo$"):
        create_shared_file(path, Size(whole.f_blocks * whole.f_frsize + 1))
    assert not path.exists()


def test_a_gang_that_cannot_meet_for_want_of_room_says_so(tiny_checkpoint: Path) -> None:
    config = EngineConfig(ranks=2, exchange="shm", step_tokens=2**40)
    with (
        pytest.raises(RankLost, match="/dev/shm has no room"),
        meeting_points(open_checkpoint(tiny_checkpoint).config, config),
    ):
        pytest.fail("it has no room")
