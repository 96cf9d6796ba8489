"""On PostgreSQL the recorder reads and writes as the tenant's role: a statement without a condition stays within it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from gateway.recorder import Recorder, attempt
from storage.database import Database, migrate, open_database
from tests.storage.made import key
from tests.storage.servers import new_database, postgres_server

TENANTS = ("acme", "globex")
Reached = list[tuple[str, str]]  # tenants and names of keys


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with postgres_server() as server:
        found = new_database(server)
        migrate(found)
        yield found


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """A key of each tenant, both of one name."""
    opened = open_database(url)
    with opened.transaction() as connection:
        connection.execute(sa.text("DELETE FROM keys"))
    for tenant in TENANTS:
        key(opened, "Ada", tenant=tenant)
    yield opened
    opened.close()


@pytest.fixture
def recorder(database: Database) -> Iterator[Recorder]:
    started = Recorder(database, waiting=8, batch=8, readers=1)
    started.start()
    yield started
    started.close()


def seen(connection: Connection) -> Reached:
    return told(connection.execute(sa.text("SELECT tenant, name FROM keys ORDER BY tenant")))


def changed(connection: Connection) -> Reached:
    return sorted(told(connection.execute(sa.text("UPDATE keys SET name = name || '!' RETURNING tenant, name"))))


def told(rows: sa.CursorResult[Any]) -> Reached:
    return [(row.tenant, row.name) for row in rows]


@pytest.mark.parametrize("tenant", TENANTS)
async def test_a_read_sees_nothing_of_another_tenant(recorder: Recorder, tenant: str) -> None:
    assert await recorder.read(seen, tenant=tenant) == [(tenant, "Ada")]
    assert await recorder.read(seen) == [(each, "Ada") for each in TENANTS]  # the same connection, as the system


async def test_a_write_reaches_nothing_of_another_tenant(recorder: Recorder) -> None:
    assert await recorder.write(changed, tenant="acme") == [("acme", "Ada!")]
    assert await recorder.write(seen, tenant="globex") == [("globex", "Ada")]
    assert await recorder.write(changed) == [("acme", "Ada!!"), ("globex", "Ada!")]


def test_writes_of_one_group_reach_their_own_tenants_rows_each(database: Database) -> None:
    with database.transaction() as connection:
        for tenant in TENANTS:
            assert attempt(connection, changed, tenant) == ([(tenant, "Ada!")], None)
        assert attempt(connection, changed, None) == ([(each, "Ada!!") for each in TENANTS], None)


def test_a_refused_write_of_a_group_leaves_its_tenant_to_nobody(database: Database) -> None:
    def refuse(connection: Connection) -> None:
        changed(connection)
        raise LookupError

    with database.transaction() as connection:
        result, refusal = attempt(connection, refuse, "acme")
        assert (result, type(refusal)) == (None, LookupError)
        assert seen(connection) == [(each, "Ada") for each in TENANTS]
