"""Gives a process a temporary folder of its own; what one that was killed left there, the next one removes."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "countersign-own-"
_UNFINISHED = "countersign-new-"  # not locked yet, so nobody may think that its owner is dead


@contextmanager
def own_folder() -> Iterator[Path]:
    """Of mode 700, and removed after the block. As long as this process lives its lock tells others that it does."""
    sweep()
    made = Path(tempfile.mkdtemp(prefix=_UNFINISHED))
    lock = os.open(made, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    folder = made.rename(made.with_name(PREFIX + made.name.removeprefix(_UNFINISHED)))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


@contextmanager
def temporary_files_in(folder: Path) -> Iterator[None]:
    """Where torch's C++, and processes started within the block, make temporary files that nobody gave a place."""
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        del os.environ["TMPDIR"]
        if before is not None:
            os.environ["TMPDIR"] = before


def sweep() -> None:
    """Removes the folders of processes that have ended without removing them."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # another user's, or gone meanwhile
            lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while its owner lives
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(lock)
