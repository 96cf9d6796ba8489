"""The file outside the database gets every checkpoint once, whatever tore it, and tells when the two disagree."""

import contextlib
import fcntl
import json
import stat
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from storage import checkpoint_file, proofs
from storage.audit_tables import audit_checkpoints
from storage.checkpoint_file import CheckpointFile
from storage.database import Database
from storage.errors import CheckpointsContradict
from tests.storage.logs import append, seal_all


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit" / "checkpoints.jsonl"


def sealed(database: Database, turns: int = 1) -> None:
    append(database, turns)
    seal_all(database, limit=1)


def kept(path: Path) -> list[tuple[int, str]]:
    return [(line["size"], line["note"]) for line in map(json.loads, path.read_text().splitlines())]


def known(database: Database) -> list[tuple[int, str]]:
    with database.read() as conn:
        return proofs.notes(conn, 0, 1000)


def test_each_checkpoint_is_appended_once(database: Database, path: Path) -> None:
    file = CheckpointFile(path)
    assert file.publish(database) == 0
    for _ in range(3):
        sealed(database, 2)
        assert file.publish(database) == 2
        assert file.publish(database) == 0
    assert kept(path) == known(database)
    assert len(kept(path)) == 6
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_a_crash_left_out_is_appended_later(database: Database, path: Path, monkeypatch) -> None:
    monkeypatch.setattr(checkpoint_file, "_AT_ONCE", 2)
    sealed(database)
    CheckpointFile(path).publish(database)
    sealed(database, 5)
    assert CheckpointFile(path).publish(database) == 5
    assert kept(path) == known(database)


@pytest.mark.parametrize("lines", [0, 1, 3])
def test_a_torn_last_line_is_cut_off_wherever_it_tore(database: Database, path: Path, lines: int) -> None:
    sealed(database, 4)
    CheckpointFile(path).publish(database)
    whole = path.read_bytes()
    ends = [0] + [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
    for torn in (ends[lines] + 1, (ends[lines] + ends[lines + 1]) // 2, ends[lines + 1] - 1):
        path.write_bytes(whole[:torn])
        assert CheckpointFile(path).publish(database) == 4 - lines
        assert path.read_bytes() == whole


def test_a_torn_line_longer_than_any_is_cut_off_too(database: Database, path: Path) -> None:
    sealed(database, 2)
    file = CheckpointFile(path)
    file.publish(database)
    whole = path.read_bytes()
    path.write_bytes(whole + b"x" * 20_000)
    assert file.publish(database) == 0
    assert path.read_bytes() == whole


def test_a_database_that_was_set_back_is_told(database: Database, path: Path) -> None:
    sealed(database, 3)
    file = CheckpointFile(path)
    file.publish(database)
    before = path.read_bytes()
    with database.transaction() as conn:
        conn.execute(audit_checkpoints.delete().where(audit_checkpoints.c.tree_size == 3))
    with pytest.raises(CheckpointsContradict, match="no checkpoint of that size"):
        CheckpointFile(path).publish(database)
    assert path.read_bytes() == before


def test_a_database_that_was_rewritten_is_told(database: Database, path: Path) -> None:
    sealed(database, 3)
    CheckpointFile(path).publish(database)
    with database.transaction() as conn:
        conn.execute(sa.update(audit_checkpoints).where(audit_checkpoints.c.tree_size == 3).values(note="another"))
    with pytest.raises(CheckpointsContradict, match="another of that size"):
        CheckpointFile(path).publish(database)


@pytest.mark.parametrize(
    "line", [b"junk", b"[]", b'{"size": 1}', b'{"size": "x", "note": "y"}', b"", b"\xff", b"[" * 9999]
)
def test_a_line_of_someone_else_is_told(database: Database, path: Path, line: bytes) -> None:
    sealed(database)
    file = CheckpointFile(path)
    file.publish(database)
    with path.open("ab") as opened:
        opened.write(line + b"\n")
    with pytest.raises(CheckpointsContradict, match=r"docs/audit-log\.md"):
        file.publish(database)


def test_a_full_disk_is_told_and_nothing_is_missing_afterwards(database: Database, path: Path) -> None:
    sealed(database, 2)
    path.parent.mkdir()
    path.symlink_to("/dev/full")
    file = CheckpointFile(path)
    with pytest.raises(OSError):
        file.publish(database)
    path.unlink()
    assert file.publish(database) == 2
    assert kept(path) == known(database)


def test_a_file_that_was_taken_away_begins_anew(database: Database, path: Path) -> None:
    sealed(database, 2)
    file = CheckpointFile(path)
    file.publish(database)
    path.rename(path.with_suffix(".old"))
    sealed(database)
    assert file.publish(database) == 3
    assert kept(path) == known(database)


def test_a_file_that_another_process_holds_is_not_waited_for(database: Database, path: Path) -> None:
    sealed(database)
    path.parent.mkdir()
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            CheckpointFile(path).publish(database)
    assert CheckpointFile(path).publish(database) == 1


def test_two_who_publish_at_once_double_nothing(database: Database, path: Path) -> None:
    sealed(database, 30)

    def publish() -> None:
        while True:
            with contextlib.suppress(BlockingIOError):
                CheckpointFile(path).publish(database)
                return

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert kept(path) == known(database)
