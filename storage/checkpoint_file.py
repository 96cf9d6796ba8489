"""Keeps every checkpoint outside the database too: a file of JSON lines that only grows, synced to disk."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from storage import proofs
from storage.database import Database
from storage.errors import CheckpointsContradict

_TAIL = 4096  # bytes; a line has about 300
_AT_ONCE = 1000  # notes read from the database at a time


class CheckpointFile:
    """One sealer's file. What a crash or a full disk left out is appended by the next `publish`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: tuple[int, int, int] | None = None  # device, inode and bytes as this process left the file
        self._size = 0  # of the tree, in the last line

    def publish(self, database: Database) -> int:
        """Appends the notes that the file lacks, and syncs it; returns how many.

        A last line that was torn is cut off first. Raises CheckpointsContradict when the file's last checkpoint is not
        the database's of that size; OSError when the file cannot be written now; DatabaseUnreachable.
        """
        with self._opened() as file:
            if self._known != _mark(file):
                self._known = None
                self._size = self._checked(database, file)
            published = 0
            while lacking := _lacking(database, self._size):
                self._append(file, lacking)
                published += len(lacking)
            self._known = _mark(file)
            return published

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The locked file's descriptor: two sealers never append at once, even if one was stopped in the middle.

        Raises BlockingIOError, an OSError, while the other holds it.
        """
        is_new = not self.path.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_new:
                sync_folder(self.path.parent)
            yield file
        finally:
            os.close(file)  # which also unlocks

    def _checked(self, database: Database, file: int) -> int:
        """The size of the tree in the last whole line, which the database must know with the same note."""
        line = _last_line(file)
        if not line:
            return 0
        size, note = self._read(line)
        with database.read() as conn:
            known = proofs.note_of(conn, size)
        if known != note:
            held = "has no checkpoint of that size" if known is None else "holds another of that size"
            raise CheckpointsContradict(
                f"{self.path} ends with a checkpoint of {size} events, and the database {held}: it was set back or "
                "rewritten. Nothing more is sealed; docs/audit-log.md says what to do."
            )
        return size

    def _read(self, line: bytes) -> tuple[int, str]:
        try:
            found = json.loads(line)
            return int(found["size"]), str(found["note"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise CheckpointsContradict(
                f"{self.path} does not end with a checkpoint: someone else wrote into it. Nothing more is sealed; "
                "docs/audit-log.md says what to do."
            ) from error

    def _append(self, file: int, notes: Sequence[tuple[int, str]]) -> None:
        lines = b"".join(json.dumps({"size": size, "note": note}).encode() + b"\n" for size, note in notes)
        self._known = None  # until it is done nobody knows how far it came
        end = os.lseek(file, 0, os.SEEK_END)
        try:
            _write(file, lines)
            os.fsync(file)
        except OSError:
            os.ftruncate(file, end)
            raise
        self._size = notes[-1][0]


def sync_folder(folder: Path) -> None:
    """Makes a new name in `folder` last through a power failure."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lacking(database: Database, size: int) -> list[tuple[int, str]]:
    with database.read() as conn:
        return proofs.notes(conn, size, _AT_ONCE)


def _mark(file: int) -> tuple[int, int, int]:
    stat = os.fstat(file)
    return stat.st_dev, stat.st_ino, stat.st_size


def _write(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _last_line(file: int) -> bytes:
    """The last line that ends; what follows it was torn by a crash and is cut off."""
    size = os.fstat(file).st_size
    reach = min(size, _TAIL)
    while True:
        tail = os.pread(file, reach, size - reach)
        end = tail.rfind(b"\n") + 1
        begin = tail.rfind(b"\n", 0, max(end - 1, 0)) + 1
        if begin or reach == size:
            break
        reach = min(size, reach * 2)
    if end < len(tail):
        os.ftruncate(file, size - len(tail) + end)
        os.fsync(file)
    return tail[begin:end]
