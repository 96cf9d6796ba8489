"""One writer, durable commits, consistent reads; and what is said when the database cannot be used."""

import multiprocessing
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from storage import outbox
from storage.database import Database, DatabaseUnreachable, has_wal_reset_bug, now, open_database
from storage.tables import drafts
from tests.storage.made import notes_in


def _add_notes(url: str, count: int) -> None:
    database = open_database(url)
    for number in range(count):
        with database.transaction() as conn:
            outbox.add(conn, "test", {"number": number})
    database.close()


def _count(database: Database) -> int:
    with database.read() as conn:
        return notes_in(conn)


def test_a_transaction_commits_when_its_block_ends(database: Database) -> None:
    with database.transaction() as conn:
        outbox.add(conn, "test", {})
    assert _count(database) == 1


def test_a_transaction_that_raises_leaves_nothing(database: Database) -> None:
    def half_done() -> None:
        with database.transaction() as conn:
            outbox.add(conn, "test", {})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half_done()
    assert _count(database) == 0


def test_a_savepoint_rolls_back_alone(database: Database) -> None:
    with database.transaction() as conn:
        outbox.add(conn, "test", {"kept": True})
        with conn.begin_nested() as savepoint:
            outbox.add(conn, "test", {"kept": False})
            savepoint.rollback()
    with database.transaction() as conn:
        assert [note.payload for note in outbox.take(conn, 10, topics=["test"])] == [{"kept": True}]


def test_reading_cannot_write(database: Database) -> None:
    with pytest.raises((DBAPIError, DatabaseUnreachable)), database.read() as conn:
        outbox.add(conn, "test", {})
    assert _count(database) == 0


def test_a_read_sees_one_snapshot(database: Database) -> None:
    with database.read() as conn:
        before = notes_in(conn)
        with database.transaction() as writing:
            outbox.add(writing, "test", {})
        assert notes_in(conn) == before
    assert _count(database) == before + 1


def test_foreign_keys_are_enforced(database: Database) -> None:
    row = {"item_id": "rev_none", "reviewer_id": "key_1", "text": "", "note": "", "saved_at": 0.0}
    with pytest.raises(IntegrityError), database.transaction() as conn:
        conn.execute(drafts.insert(), row)


def test_the_clock_is_unix_time_and_runs(database: Database) -> None:
    with database.read() as conn:
        first = now(conn)
        assert abs(first - time.time()) < 60
        while now(conn) == first:
            pass
        assert now(conn) > first


def test_threads_write_one_after_the_other(database_url: str, database: Database) -> None:
    def write() -> None:
        for _ in range(10):
            with database.transaction() as conn:
                outbox.add(conn, "test", {})

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _count(database) == 40


def test_processes_write_without_losing_anything(database_url: str, database: Database) -> None:
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=_add_notes, args=(database_url, 20)) for _ in range(2)]
    for other in others:
        other.start()
    for _ in range(20):
        with database.transaction() as conn:
            outbox.add(conn, "test", {})
    for other in others:
        other.join()
        assert other.exitcode == 0
    assert _count(database) == 60


def test_sqlite_commits_durably_into_a_write_ahead_log(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/a.db")
    with database.transaction() as conn:
        pragmas = {name: conn.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")}
    database.close()
    assert pragmas == {"journal_mode": "wal", "synchronous": 2}  # 2 is FULL


@pytest.mark.parametrize(
    ("version", "affected"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), False),
        ((4, 0, 0), False),
    ],
)
def test_sqlite_versions_that_can_corrupt_a_log(version: tuple[int, ...], affected: bool) -> None:
    assert has_wal_reset_bug(version) is affected


@pytest.mark.skipif(not has_wal_reset_bug(), reason="this SQLite lets several processes write safely by itself")
def test_affected_sqlite_keeps_other_processes_from_writing_at_the_same_time(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    first, second = open_database(url), open_database(url)
    second._lock._wait_seconds = 0.05  # type: ignore[union-attr]
    with first.transaction(), pytest.raises(DatabaseUnreachable, match="busy"), second.transaction():
        pass
    with second.transaction() as conn:
        assert conn.execute(sa.select(1)).scalar() == 1
    first.close()
    second.close()


def test_sqlite_that_is_not_affected_begins_one_write_transaction_at_a_time(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("storage.database.has_wal_reset_bug", lambda: False)
    url = f"sqlite:///{tmp_path}/a.db"
    first, second = open_database(url), open_database(url)
    sa.event.listen(second._writer, "connect", lambda raw, _: raw.execute("PRAGMA busy_timeout=1"))
    with first.transaction(), pytest.raises(DatabaseUnreachable, match="locked"), second.transaction():
        pass
    first.close()
    second.close()
    assert not list(tmp_path.glob("*.writer"))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite:////nowhere/at/all.db", "nowhere/at/all"),
        ("postgresql://someone:hunter2@/x?host=/nowhere", "cannot be used"),
        ("mysql://localhost/x", "sqlite or postgresql"),
        ("sqlite://", "names no file"),
        ("gibberish", "DATABASE_URL cannot be read"),
    ],
)
def test_an_unusable_database_is_named_in_one_sentence_without_its_password(url: str, says: str) -> None:
    with pytest.raises(DatabaseUnreachable, match=says) as caught, open_database(url).transaction():
        pass
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_recovers_by_itself_when_the_database_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    database = open_database(f"sqlite:///{folder}/a.db")
    with pytest.raises(DatabaseUnreachable), database.transaction():
        pass
    folder.mkdir()
    with database.transaction() as conn:
        assert conn.execute(sa.select(1)).scalar() == 1
    database.close()


def test_an_error_does_not_quote_what_was_to_be_written(database: Database) -> None:
    row = {"item_id": "canary", "reviewer_id": "canary", "text": "canary", "note": "", "saved_at": 0.0}
    with pytest.raises(IntegrityError) as refused, database.transaction() as conn:
        conn.execute(drafts.insert(), [row, row])
    assert "canary" not in str(refused.value).split("[SQL", 1)[1]


def test_a_postgresql_that_vanished_without_a_goodbye_is_noticed(migrated_postgres: Database) -> None:
    with migrated_postgres.read() as conn:
        told = conn.connection.driver_connection.info.get_parameters()
    assert (told["keepalives_idle"], told["keepalives_interval"], told["keepalives_count"]) == ("10", "3", "3")
    assert told["tcp_user_timeout"] == "15000"
