"""Lets one thread, and where a file is given one process, write at a time."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from storage.errors import DatabaseUnreachable


class WriterLock:
    """Not re-entrant: a transaction inside a transaction of the same thread would wait for itself."""

    def __init__(self, path: str | None, wait_seconds: float) -> None:
        self._path = path
        self._wait_seconds = wait_seconds
        self._mutex = threading.Lock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Raises DatabaseUnreachable when another writer does not finish in time."""
        deadline = time.monotonic() + self._wait_seconds
        if not self._mutex.acquire(timeout=self._wait_seconds):
            raise DatabaseUnreachable("The database is busy: another write did not finish in time; try again.")
        try:
            if self._path is None:
                yield
            else:
                with _file_lock(self._path, deadline):
                    yield
        finally:
            self._mutex.release()


@contextmanager
def _file_lock(path: str, deadline: float) -> Iterator[None]:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DatabaseUnreachable(f"The database cannot be written: {path}: {error.strerror}.") from error
    try:
        _wait_for(descriptor, deadline)
        yield
    finally:
        os.close(descriptor)  # which also unlocks; the kernel does so too when the process dies


def _wait_for(descriptor: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise DatabaseUnreachable("The database is busy: another process writes; try again.") from None
            time.sleep(0.002)
