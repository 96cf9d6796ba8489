"""What a killed process left among temporary files is removed by the next, and nothing of those that live."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from serving.engine.engine_config import EngineConfig
from serving.engine.local import LocalRanks
from serving.model.checkpoint import open_checkpoint
from serving.own_folder import own_folder, sweep, temporary_files_in

OWNER = """
import sys
from serving.own_folder import own_folder
with own_folder() as folder:
    (folder / "left").mkdir()
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this process and those it starts have their temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@contextmanager
def owner() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def test_a_folder_is_its_owners_and_gone_afterwards(temporary: Path) -> None:
    with own_folder() as folder:
        assert folder.parent == temporary
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "file").touch()
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next_and_the_living_keep_theirs(temporary: Path) -> None:
    with owner() as (_, kept), owner() as (killed, left):
        killed.kill()
        killed.wait()
        assert (left / "left").is_dir()
        with own_folder() as own:
            assert set(temporary.iterdir()) == {kept, own}
            sweep()
            assert set(temporary.iterdir()) == {kept, own}


def test_what_is_nobodys_folder_is_left_alone(temporary: Path) -> None:
    (temporary / "countersign-new-half").mkdir()
    (temporary / "countersign-own-link").symlink_to(temporary / "countersign-new-half")
    (temporary / "another").mkdir()
    sweep()
    assert len(list(temporary.iterdir())) == 3


def test_temporary_files_go_where_they_are_told_as_long_as_that_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for before in ("/somewhere", None):
        monkeypatch.setenv("TMPDIR", before) if before else monkeypatch.delenv("TMPDIR")
        with temporary_files_in(tmp_path):
            assert os.environ["TMPDIR"] == str(tmp_path)
        assert os.environ.get("TMPDIR") == before


def test_a_rank_that_may_unpack_compiled_steps_leaves_nothing_even_when_it_is_killed(
    temporary: Path, tiny_checkpoint: Path
) -> None:
    config = EngineConfig(ranks=2, compiled=str(temporary / "compiled"))
    with LocalRanks(open_checkpoint(tiny_checkpoint), config) as ranks:
        killed, _ = ranks.start(2)
        folders = set(temporary.glob("countersign-own-*"))
        assert len(folders) == 2
        os.kill(killed.pid, 9)
    assert not [folder for folder in folders if folder.exists()]
