"""Migrating makes the tenants' role once for the whole cluster, or says what an administrator must run."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import psycopg
import pytest

from storage.database import Database, migrate, open_database
from storage.schema import downgrade
from storage.tenancy import ROLE, act_for
from storage.tenant_role import RoleNeeded, ensure_role
from tests.storage.servers import new_database, postgres_server


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A cluster of its own: elsewhere the role is there already, and other databases depend on it."""
    with postgres_server() as url:
        yield url


def _owned_by(cluster: str, user: str, rights: str) -> str:
    """The URL of a new database for its owner `user`."""
    url = new_database(cluster)
    name = url.split("/")[3].split("?")[0]
    with psycopg.connect(cluster, autocommit=True) as conn:
        conn.execute(f"CREATE ROLE {user} LOGIN {rights}".encode())
        conn.execute(f'ALTER DATABASE "{name}" OWNER TO {user}'.encode())
    return url.replace("postgres:", f"{user}:", 1).replace("postgres@", f"{user}@", 1)


def _acts(url: str) -> str:
    """In whose name a transaction that acts for a tenant runs its statements."""
    opened = open_database(url)
    with opened.transaction() as conn:
        act_for(conn, "acme")
        assert conn.exec_driver_sql("SELECT count(*) FROM audit_events").scalar_one() == 0
        user = conn.exec_driver_sql("SELECT current_user").scalar_one()
    opened.close()
    return str(user)


def test_user_who_may_not_create_roles_is_told_what_to_run(cluster: str) -> None:
    url = _owned_by(cluster, "humble", "")
    with pytest.raises(RoleNeeded, match="database administrator must run once: CREATE ROLE") as refused:
        migrate(url)
    told = str(refused.value)
    with psycopg.connect(cluster, autocommit=True) as conn:
        for statement in told.partition("run once: ")[2].split(";")[:-1]:
            conn.execute(statement.encode())
    migrate(url)
    assert _acts(url) == ROLE


def test_databases_of_one_cluster_may_make_it_at_once() -> None:
    with postgres_server() as fresh:
        databases = [open_database(new_database(fresh)) for _ in range(4)]
        ready = Barrier(len(databases))

        def make(database: Database) -> bool:
            with database.transaction() as conn:
                conn.exec_driver_sql("SELECT 1")
                ready.wait(10)
                ensure_role(conn)
                return bool(conn.exec_driver_sql(f"SELECT '{ROLE}'::regrole IS NOT NULL").scalar_one())

        with ThreadPoolExecutor(len(databases)) as pool:
            assert list(pool.map(make, databases)) == [True] * len(databases)
        for database in databases:
            database.close()


def test_downgrade_leaves_the_role_to_other_databases(cluster: str) -> None:
    first, second = (new_database(cluster) for _ in range(2))
    migrate(first)
    migrate(second)
    downgrade(first)
    assert _acts(second) == ROLE


def test_user_who_may_create_roles_needs_nobody(cluster: str) -> None:
    with postgres_server() as fresh:
        url = _owned_by(fresh, "maker", "CREATEROLE")
        migrate(url)
        assert _acts(url) == ROLE
