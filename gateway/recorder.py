"""The only way from the event loop into storage: one writer thread that commits many writes together."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import InterfaceError, OperationalError

from gateway.errors import ApiError, unavailable
from storage import tenancy
from storage.database import Database, DatabaseUnreachable

Result = TypeVar("Result")
Write = Callable[[Connection], Any]
log = structlog.get_logger("recorder")


@dataclass(frozen=True, slots=True)
class Job:
    write: Write
    tenant: str | None  # on whose behalf; None: the system's own
    future: Future[Any]


class Recorder:
    """Writes in groups and reads beside them.

    A write's result arrives only after its commit, so what is acknowledged is durable. Each write runs in a savepoint:
    one that is refused takes no other with it.
    """

    def __init__(self, database: Database, *, waiting: int, batch: int, readers: int) -> None:
        self._database = database
        self._jobs: queue.Queue[Job | None] = queue.Queue(waiting)
        self._batch = batch
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="reader")
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._closed = False

    def start(self) -> None:
        self._thread.start()

    async def write(self, write: Callable[[Connection], Result], *, tenant: str | None = None) -> Result:
        """Runs `write`, in which the database shows nothing but `tenant`'s rows, and waits for its commit.

        Raises what `write` raised, or ApiError 503 when the queue is full or the database does not commit.
        A caller that is cancelled while it waits does not undo the write.
        """
        job = Job(write, tenant, Future())
        if self._closed:
            raise unavailable("The gateway is stopping.", "stopping", 1)
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise unavailable("Too many writes wait for the database; ask again shortly.", "overloaded", 1) from None
        result: Result = await asyncio.shield(asyncio.wrap_future(job.future))
        return result

    async def read(self, read: Callable[[Connection], Result], *, tenant: str | None = None) -> Result:
        """Runs `read` in a reader thread, where it sees nothing but `tenant`'s rows.

        Raises ApiError 503 when the database cannot be read.
        """
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, read, tenant)

    def close(self) -> None:
        """Commits what waits, then stops."""
        self._closed = True
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join(timeout=10)
        self._readers.shutdown(wait=False, cancel_futures=True)

    def _read(self, read: Callable[[Connection], Result], tenant: str | None) -> Result:
        try:
            with self._database.read() as connection:
                if tenant is not None:  # a transaction begins as the system's own
                    tenancy.act_for(connection, tenant)
                return read(connection)
        except DatabaseUnreachable as error:
            raise database_down(error) from None

    def _run(self) -> None:
        stopping = False
        while not stopping:
            jobs = [self._jobs.get()]
            while len(jobs) < self._batch and not self._jobs.empty():
                jobs.append(self._jobs.get_nowait())
            stopping = None in jobs
            self._commit([job for job in jobs if job is not None])

    def _commit(self, jobs: list[Job]) -> None:
        settled: list[tuple[Job, Any, Exception | None]] = []
        try:
            with self._database.transaction() as connection:
                settled = [(job, *attempt(connection, job.write, job.tenant)) for job in jobs]
        except Exception as error:  # nothing was committed: everyone is told so
            down = database_down(error)
            settled = [(job, None, down) for job in jobs]
        for job, result, refusal in settled:
            settle(job.future, result, refusal)


def attempt(connection: Connection, write: Write, tenant: str | None) -> tuple[Any, Exception | None]:
    """One write in its savepoint: (result, None) or (None, why it was refused).

    Raises when the database itself is in trouble: then nothing of the whole group is committed.
    """
    try:
        with connection.begin_nested():
            tenancy.act_for(connection, tenant)  # also back from the tenant of the write before
            return write(connection), None
    except (OperationalError, InterfaceError, DatabaseUnreachable):
        raise
    except Exception as error:
        return None, error


def settle(future: Future[Any], result: Any, refusal: Exception | None) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if refusal is None:
        future.set_result(result)
    else:
        future.set_exception(refusal)


def database_down(error: Exception) -> ApiError:
    log.error("database unavailable", error=type(error).__name__)
    return unavailable("The database does not take this now; nothing was shown or changed.", "storage_unavailable")
