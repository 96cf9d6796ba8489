"""The only way from the event loop into storage: writer threads, of which one commits many questions together."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from gateway.errors import unavailable
from gateway.readers import Readers, database_down
from storage import tenancy
from storage.database import Database, DatabaseUnreachable, now
from storage.recording import Recording, record_many

Result = TypeVar("Result")
Write = Callable[[Connection], Any]
Make = Callable[[float], Recording]  # from the database's time in unix seconds
Settled = list[tuple[Future[Any], Any, Exception | None]]  # whose, its result, why it was refused
WRITERS = 2  # threads, where the database takes several writes at once; more of them fight for the interpreter
ATTEMPTS = 3  # at a write that another one waits for, which waits for it
DEADLOCK = "40P01"  # PostgreSQL's name for that


@dataclass(frozen=True, slots=True)
class Job:
    write: Write
    tenant: str | None  # on whose behalf; None: the system's own
    future: Future[Any]


@dataclass(frozen=True, slots=True)
class Question:
    """A question to be recorded: many of them are written in one statement a table."""

    make: Make
    future: Future[Recorded]


Writing = Job | Question


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was handed over to be recorded, and the id of the interaction that stands for it."""

    recording: Recording
    stands: str


class Lane:
    """Writes that wait for the same threads; a thread commits up to `batch` of them together."""

    def __init__(self, name: str, waiting: int, batch: int, threads: int, commit: Callable[[list[Writing]], None]):
        self._jobs: queue.Queue[Writing | None] = queue.Queue(waiting)
        self._batch, self._commit = batch, commit
        self._threads = [threading.Thread(target=self._run, name=name, daemon=True) for _ in range(threads)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def put(self, job: Writing) -> None:
        """Raises queue.Full."""
        self._jobs.put_nowait(job)

    def close(self) -> None:
        """Commits what waits, then stops."""
        living = [thread for thread in self._threads if thread.is_alive()]
        for _ in living:
            self._jobs.put(None)
        for thread in living:
            thread.join(timeout=10)

    def _run(self) -> None:
        stopping = False
        while not stopping:
            jobs = [self._jobs.get()]
            while len(jobs) < self._batch and not self._jobs.empty():
                jobs.append(self._jobs.get_nowait())
            stopping = None in jobs
            self._commit([job for job in jobs if job is not None])


class Recorder:
    """Writes in groups and reads beside them.

    A result arrives only after its commit, so what is acknowledged is durable. Each write of a group runs in a
    savepoint, and so do its questions together: what is refused takes nothing else with it. On PostgreSQL other writes
    than questions have threads of their own and are committed one by one: in groups two of them could wait for each
    other's rows.
    """

    def __init__(self, database: Database, *, waiting: int, batch: int, readers: int) -> None:
        self._database = database
        self._questions = self._writes = Lane("recorder", waiting, batch, 1, self._commit)
        if database.dialect == "postgresql":
            self._writes = Lane("writer", waiting, 1, WRITERS, self._commit)
        self._readers = Readers(database, waiting=waiting, threads=readers)
        self._closed = False

    def start(self) -> None:
        for lane in {self._questions, self._writes}:
            lane.start()

    async def write(self, write: Callable[[Connection], Result], *, tenant: str | None = None) -> Result:
        """Runs `write`, in which the database shows nothing but `tenant`'s rows, and waits for its commit.

        It may be called again when it and another write waited for each other: the database has undone it by then.
        Raises what `write` raised, or ApiError 503 when the queue is full or the database does not commit.
        A caller that is cancelled while it waits does not undo the write.
        """
        job = Job(write, tenant, Future())
        self._put(self._writes, job)
        result: Result = await asyncio.shield(asyncio.wrap_future(job.future))
        return result

    async def record(self, make: Make) -> Recorded:
        """Records a question beside those of others and waits for the commit; raises as `write` does.

        `make` is told the database's time. It may be called twice: when others of its group cannot be recorded.
        """
        job = Question(make, Future())
        self._put(self._questions, job)
        return await asyncio.shield(asyncio.wrap_future(job.future))

    async def read(
        self, read: Callable[[Connection], Result], *, tenant: str | None = None, always: bool = False
    ) -> Result:
        """Runs `read` in a reader thread, where it sees nothing but `tenant`'s rows.

        Raises ApiError 503 when the database cannot be read, and, but for `always`, when too many wait.
        """
        self._refuse_at_the_end()
        return await self._readers.read(read, tenant, always=always)

    def close(self) -> None:
        """Commits what waits, then stops."""
        self._closed = True
        for lane in {self._questions, self._writes}:
            lane.close()
        self._readers.close()

    def _refuse_at_the_end(self) -> None:
        if self._closed:
            raise unavailable("The gateway is stopping.", "stopping", 1)

    def _put(self, lane: Lane, job: Writing) -> None:
        self._refuse_at_the_end()
        try:
            lane.put(job)
        except queue.Full:
            raise unavailable("Too many writes wait for the database; ask again shortly.", "overloaded", 1) from None

    def _commit(self, jobs: list[Writing]) -> None:
        if len(jobs) == 1 and isinstance(jobs[0], Job):
            self._commit_alone(jobs[0])
        elif jobs:
            self._commit_together(jobs)

    def _commit_alone(self, job: Job) -> None:
        """Without a savepoint: there is nobody else whose write a refusal could take with it."""
        result: Any = None
        refusal: Exception | None = None
        try:
            result = self._made(job)
        except (OperationalError, InterfaceError, DatabaseUnreachable) as error:
            refusal = database_down(error)
        except Exception as error:
            refusal = error
        settle(job.future, result, refusal)

    def _made(self, job: Job) -> Any:
        """The write's result, once it is committed; what waited for a write that waited for it is made again."""
        left = ATTEMPTS
        while True:
            left -= 1
            try:
                with self._database.transaction() as connection:
                    if job.tenant is not None:  # a transaction begins as the system's own
                        tenancy.act_for(connection, job.tenant)
                    return job.write(connection)
            except (OperationalError, DatabaseUnreachable) as error:
                if not left or not deadlocked(error):
                    raise

    def _commit_together(self, jobs: list[Writing]) -> None:
        settled: Settled = []
        apart: list[Question] = []
        try:
            with self._database.transaction() as connection:
                settled, apart = recorded(connection, [job for job in jobs if isinstance(job, Question)])
                others = [job for job in jobs if isinstance(job, Job)]
                settled += [(job.future, *attempt(connection, job.write, job.tenant)) for job in others]
        except Exception as error:  # nothing was committed: everyone is told so
            down = database_down(error)
            settled, apart = [(job.future, None, down) for job in jobs], []
        for future, result, refusal in settled:
            settle(future, result, refusal)
        for question in apart:  # each in a transaction of its own: the locks of retries are taken once in each
            self._commit([question])


def recorded(connection: Connection, questions: list[Question]) -> tuple[Settled, list[Question]]:
    """What became of them, recorded together; when one of several is refused, none is, and all are to be tried apart.

    They are written as the system's own: row-level security guards what is read and changed, and this only adds.
    """
    if not questions:
        return [], []
    results, refusal = attempt(connection, lambda connection: record_all(connection, questions), None)
    if refusal is None:
        return [(question.future, result, None) for question, result in zip(questions, results, strict=True)], []
    if len(questions) == 1:
        return [(questions[0].future, None, refusal)], []
    return [], questions


def record_all(connection: Connection, questions: list[Question]) -> list[Recorded]:
    at = now(connection)
    recordings = [question.make(at) for question in questions]
    return [Recorded(*each) for each in zip(recordings, record_many(connection, recordings), strict=True)]


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


def deadlocked(error: BaseException | None) -> bool:
    """Whether two writes waited for each other, and the database undid this one: it can be made again."""
    while error is not None and not isinstance(error, DBAPIError):
        error = error.__cause__
    return error is not None and getattr(error.orig, "sqlstate", None) == DEADLOCK


def settle(future: Future[Any], result: Any, refusal: Exception | None) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if refusal is None:
        future.set_result(result)
    else:
        future.set_exception(refusal)
