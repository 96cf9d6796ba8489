"""On PostgreSQL a write waits for no other, and closing waits for all of them."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from gateway.recorder import WRITERS, Recorder
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

    writes = [asyncio.create_task(recorder.write(lambda c, word=word: insert(word, c))) for word in range(3 * WRITERS)]
    await asyncio.sleep(0)  # they wait in line once each has run to its first wait
    await asyncio.to_thread(recorder.close)
    await asyncio.gather(*writes)
    with database.read() as connection:
        found = connection.execute(sa.text("SELECT word FROM notes ORDER BY word")).scalars().all()
    assert found == list(range(3 * WRITERS))
