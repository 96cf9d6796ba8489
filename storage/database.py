"""Opens the database, SQLite or PostgreSQL, and hands out transactions; on SQLite there is one writer at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from storage.errors import DatabaseUnreachable as DatabaseUnreachable
from storage.vault import OPTION, Vault
from storage.writer_lock import WriterLock

LOCK_WAIT_SECONDS = 10.0


class Database:
    """Transactions on one database. `close` it when done; safe to share between threads."""

    def __init__(self, url: sa.URL, writer: Engine, reader: Engine, lock: WriterLock | None) -> None:
        self.url = url
        self.dialect = url.get_backend_name()  # "sqlite" or "postgresql"
        self._writer = writer
        self._reader = reader
        self._lock = lock

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Commits when the block ends, rolls back when it raises.

        Raises DatabaseUnreachable when the database does not answer, is locked or cannot write.
        """
        with self._exclusively(), self._as_unreachable(), self._writer.begin() as conn:
            yield conn

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent snapshot; writing in it fails. Raises DatabaseUnreachable."""
        with self._as_unreachable(), self._reader.begin() as conn:
            yield conn

    def close(self) -> None:
        self._reader.dispose()
        with self._exclusively():  # the last connection to close writes the log back: a write like any other
            self._writer.dispose()

    def _exclusively(self) -> AbstractContextManager[None]:
        return self._lock.held() if self._lock is not None else nullcontext()

    @contextmanager
    def _as_unreachable(self) -> Iterator[None]:
        shown = self.url.render_as_string(hide_password=True)
        try:
            yield
        except (OperationalError, InterfaceError, PoolTimeout) as error:
            raise DatabaseUnreachable(f"The database {shown} cannot be used: {_first_line(error)}") from error
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            raise DatabaseUnreachable(f"The database {shown} went away: {_first_line(error)}") from error


def open_database(url: str, vault: Vault | None = None, *, check_references: bool = True) -> Database:
    """`sqlite:///path/to/file.db` or `postgresql://user@host/name`; `vault` seals the private facts of audit events.

    `check_references`: False only to migrate, since SQLite drops and remakes tables that others refer to.

    Opens no connection yet. Raises DatabaseUnreachable when the URL names no usable database or its driver is missing.
    """
    parsed = _parsed(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed, {OPTION: vault}, check_references)
    return _open_postgresql(parsed, {OPTION: vault})


def migrate(url: str, vault: Vault | None = None, *, vouch_for_waiting: bool = False) -> None:
    """Brings the tables to the newest version; safe to call from several processes. `vault`, `vouch_for_waiting`, and
    what it raises: as storage.schema.upgrade."""
    from storage.schema import upgrade  # alembic is imported only where it is needed

    upgrade(url, vault=vault, vouch_for_waiting=vouch_for_waiting)


def now(conn: Connection) -> float:
    """The database's clock, unix seconds in UTC: the one that decides about leases and expiry."""
    if conn.dialect.name == "sqlite":
        query = "SELECT (julianday('now') - 2440587.5) * 86400.0"  # 2440587.5 is 1970-01-01; steps of a millisecond
    else:
        query = "SELECT extract(epoch FROM clock_timestamp())::float8"
    return float(conn.exec_driver_sql(query).scalar_one())


def has_wal_reset_bug(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> bool:
    """Whether two connections that write or checkpoint at one instant can corrupt a WAL database in this SQLite."""
    if version < (3, 7, 0) or version >= (3, 51, 3):
        return False
    fixed_in: dict[tuple[int, ...], int] = {(3, 50): 7, (3, 44): 6}  # also fixed within these older series
    return version[2] < fixed_in.get(version[:2], version[2] + 1)


def _parsed(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError) as error:
        raise DatabaseUnreachable("DATABASE_URL cannot be read: write sqlite:///file.db or postgresql://…") from error
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise DatabaseUnreachable(f"DATABASE_URL names {parsed.get_backend_name()!r}: use sqlite or postgresql.")
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise DatabaseUnreachable("DATABASE_URL names no file: write sqlite:///path/to/countersign.db.")
    return parsed


def _open_sqlite(url: sa.URL, options: dict[str, Any], check_references: bool) -> Database:
    # One writer connection, as SQLite has one writer anyway: it never waits for itself. Where SQLite has the WAL-reset
    # bug, a lock file keeps the writers of other processes away too.
    lock = WriterLock(f"{url.database}.writer" if has_wal_reset_bug() else None, LOCK_WAIT_SECONDS)
    pool: dict[str, Any] = {"poolclass": QueuePool, "pool_timeout": LOCK_WAIT_SECONDS, **_common(options)}
    writer = sa.create_engine(url, pool_size=1, max_overflow=0, **pool)
    reader = sa.create_engine(url, pool_size=4, max_overflow=12, **pool)
    checking = f"PRAGMA foreign_keys={'ON' if check_references else 'OFF'}"  # has no effect within a transaction
    erasing = "PRAGMA secure_delete=ON"  # what is erased is overwritten in the file, not only let go
    _prepare_sqlite(writer, "PRAGMA synchronous=FULL", checking, erasing, begin="BEGIN IMMEDIATE")
    _prepare_sqlite(reader, "PRAGMA query_only=ON", begin="BEGIN")
    return Database(url, writer, reader, lock)


def _common(options: dict[str, Any]) -> dict[str, Any]:
    return {"execution_options": options, "hide_parameters": True}  # an error's words never quote what was written


def _prepare_sqlite(engine: Engine, *pragmas: str, begin: str) -> None:
    def connected(raw: Any, _record: Any) -> None:
        raw.isolation_level = None  # SQLAlchemy begins and ends transactions, not the driver
        for statement in (
            "PRAGMA busy_timeout=5000",  # milliseconds
            "PRAGMA journal_mode=WAL",
            *pragmas,
        ):
            raw.execute(statement)

    def began(conn: Connection) -> None:
        conn.exec_driver_sql(begin)

    sa.event.listen(engine, "connect", connected)
    sa.event.listen(engine, "begin", began)


# A server whose machine or network is gone says no goodbye: without these its connections would be waited on for hours.
_PEER_GONE = {
    "keepalives_idle": 10,  # seconds
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,  # milliseconds
}


def _open_postgresql(url: sa.URL, options: dict[str, Any]) -> Database:
    server_options = "-c statement_timeout=30000 -c lock_timeout=10000 -c idle_in_transaction_session_timeout=60000"
    connect_args = {"connect_timeout": 5, "options": server_options, **_PEER_GONE}
    pool: dict[str, Any] = {"pool_size": 8, "max_overflow": 8, "pool_pre_ping": True, **_common(options)}
    pool["pool_use_lifo"] = True  # a server process that has just worked has its plans and caches ready
    try:
        writer = sa.create_engine(url, connect_args=connect_args, **pool)
    except (ImportError, NoSuchModuleError) as error:
        raise DatabaseUnreachable("PostgreSQL needs its driver: pip install 'countersign[postgres]'.") from error
    reader = writer.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return Database(url, writer, reader, None)


def _first_line(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".") + "."
