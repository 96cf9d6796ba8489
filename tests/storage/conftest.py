"""The same tests on SQLite and on a real PostgreSQL; a real Valkey, emptied for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from storage.database import Database, migrate, open_database
from storage.embedded_valkey import EmbeddedValkey
from storage.records import Key, ReviewItem, Role
from storage.review_queue import ReviewQueue
from storage.tables import metadata
from storage.vault import Vault
from tests.storage.made import held, key
from tests.storage.servers import new_database, postgres_server, valkey_server

VAULT = Vault(bytes(range(32)))


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def migrated_postgres(postgres_url: str) -> Iterator[Database]:
    url = new_database(postgres_url)
    migrate(url)
    opened = open_database(url, VAULT)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def migrated_sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    migrate(f"sqlite:///{file}")
    return file


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/empty.db"
    return new_database(request.getfixturevalue("postgres_url"))


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database with all tables: a file of its own, or the session's PostgreSQL, emptied."""
    if request.param == "postgresql":
        opened = request.getfixturevalue("migrated_postgres")
        empty(opened)
        yield opened
        return
    copy = tmp_path / "countersign.db"
    shutil.copyfile(request.getfixturevalue("migrated_sqlite_file"), copy)
    opened = open_database(f"sqlite:///{copy}", VAULT)
    yield opened
    opened.close()


@pytest.fixture
def database_url(database: Database) -> str:
    """Where another process finds the same database."""
    return database.url.render_as_string(hide_password=False)


def empty(database: Database) -> None:
    with database.transaction() as conn:
        for table in reversed(metadata.sorted_tables):
            conn.execute(table.delete())


@pytest.fixture(scope="session")
def valkey() -> Iterator[EmbeddedValkey]:
    with valkey_server() as server:
        yield server


@pytest.fixture
def redis_client(valkey: EmbeddedValkey) -> Iterator[redis.Redis]:
    """Straight into Valkey, past the product."""
    client = redis.Redis.from_url(valkey.url, decode_responses=True)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def queue(valkey: EmbeddedValkey, redis_client: redis.Redis) -> Iterator[ReviewQueue]:
    opened = ReviewQueue(valkey.url)
    yield opened
    opened.close()


@pytest.fixture
def caller(database: Database) -> Key:
    return key(database, "chat", Role.CALLER)


@pytest.fixture
def ada(database: Database) -> Key:
    return key(database, "Ada")


@pytest.fixture
def bob(database: Database) -> Key:
    return key(database, "Bob")


@pytest.fixture
def waiting(database: Database, caller: Key) -> ReviewItem:
    return held(database, caller)
