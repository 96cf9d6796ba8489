"""On PostgreSQL a write waits for no other, two that wait for each other are both made, and closing waits for all."""

import asyncio
import threading
from collections.abc import Iterator
from functools import partial

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from gateway.errors import ApiError
from gateway.recorder import WRITERS, Recorder
from storage import audit_log
from storage.database import Database, open_database
from tests.storage.servers import new_database, postgres_server


@pytest.fixture
def database() -> Iterator[Database]:
    with postgres_server() as server:
        opened = open_database(new_database(server))
        yield opened
        opened.close()


async def test_writes_run_beside_each_other_and_closing_commits_those_that_wait(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(sa.text("CREATE TABLE notes (word INTEGER)"))
    recorder = Recorder(database, waiting=64, batch=64, readers=1)
    recorder.start()
    meeting = threading.Barrier(WRITERS)

    def insert(word: int, connection: Connection) -> None:
        connection.execute(sa.text("INSERT INTO notes VALUES (:word)"), {"word": word})
        meeting.wait(20)  # raises unless as many write at this moment

    writes = [asyncio.create_task(recorder.write(partial(insert, word))) for word in range(3 * WRITERS)]
    await asyncio.sleep(0)  # they wait in line once each has run to its first wait
    await asyncio.to_thread(recorder.close)
    await asyncio.gather(*writes)
    with database.read() as connection:
        found = connection.execute(sa.text("SELECT word FROM notes ORDER BY word")).scalars().all()
    assert found == list(range(3 * WRITERS))


async def test_of_two_writes_that_wait_for_each_other_neither_is_refused(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(sa.text("CREATE TABLE notes (word INTEGER, writes INTEGER)"))
        connection.execute(sa.text("INSERT INTO notes VALUES (0, 0), (1, 0)"))
    recorder = Recorder(database, waiting=64, batch=64, readers=1)
    recorder.start()
    meeting, begun = threading.Barrier(2), set[int]()

    def both(first: int, connection: Connection) -> None:
        for word in (first, 1 - first):
            connection.execute(sa.text("UPDATE notes SET writes = writes + 1 WHERE word = :word"), {"word": word})
            if first not in begun:
                begun.add(first)
                meeting.wait(20)  # each has one row and wants the other's

    await asyncio.gather(*(recorder.write(partial(both, first)) for first in (0, 1)))
    recorder.close()
    with database.read() as connection:
        assert connection.execute(sa.text("SELECT writes FROM notes")).scalars().all() == [2, 2]


async def test_a_server_that_goes_away_within_a_write_is_answered_503(database: Database) -> None:
    recorder = Recorder(database, waiting=64, batch=64, readers=1)
    recorder.start()

    def lost(connection: Connection) -> None:
        with audit_log.together(connection):
            process = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            with database.transaction() as other:
                other.execute(sa.text("SELECT pg_terminate_backend(:process, 20000)"), {"process": process})
            connection.exec_driver_sql("SELECT 1")

    with pytest.raises(ApiError) as told:
        await recorder.write(lost)
    recorder.close()
    assert told.value.status == 503
