"""Threads that read from the database beside the event loop; only so many reads may wait for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import structlog
from sqlalchemy import Connection

from gateway.errors import ApiError, unavailable
from storage import tenancy
from storage.database import Database, DatabaseUnreachable

Result = TypeVar("Result")
log = structlog.get_logger("recorder")


class Readers:
    """`waiting` reads beside those that the threads are at: anybody makes one, by sending a key that may be none.

    Beyond them only `always` is read: for what was let in before, and for the gateway itself.
    """

    def __init__(self, database: Database, *, waiting: int, threads: int) -> None:
        self._database = database
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="reader")
        self._places = threading.BoundedSemaphore(threads + waiting)

    async def read(self, read: Callable[[Connection], Result], tenant: str | None, *, always: bool) -> Result:
        """Raises ApiError 503 when too many wait or the database cannot be read."""
        has_place = self._places.acquire(blocking=False)
        if not has_place and not always:
            raise unavailable("Too many reads wait for the database; ask again shortly.", "overloaded", 1)
        future = self._threads.submit(self._read, read, tenant)
        if has_place:
            future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _read(self, read: Callable[[Connection], Result], tenant: str | None) -> Result:
        try:
            with self._database.read() as connection:
                if tenant is not None:  # a transaction begins as the system's own
                    tenancy.act_for(connection, tenant)
                return read(connection)
        except DatabaseUnreachable as error:
            raise database_down(error) from None


def database_down(error: Exception) -> ApiError:
    log.error("database unavailable", error=type(error).__name__)
    return unavailable("The database does not take this now; nothing was shown or changed.", "storage_unavailable")
