"""On PostgreSQL a tenant's transaction meets no other tenant's row, whatever its statements forget to ask for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from storage.database import Database, open_database
from storage.ids import new_id
from storage.tables import metadata
from storage.tenancy import ROLE, SETTING, act_for, as_system
from tests.storage.conftest import empty
from tests.storage.two_tenants import MINE, OF_TENANTS, THEIRS, THROUGH, attempt, rows, settle

NEVER_READ = {"sign_ins", "signin_links"}  # authentication is the system's own


@pytest.fixture(scope="module")
def shared(migrated_postgres: Database) -> Iterator[dict[str, dict[str, Any]]]:
    """For each table the rows that the tenant MINE may see, by primary key, and those that it may not."""
    empty(migrated_postgres)
    with migrated_postgres.transaction() as conn:
        conn.execute(sa.text("DELETE FROM outbox"))
    facts: dict[str, dict[str, Any]] = {}
    settle(migrated_postgres, MINE)
    with migrated_postgres.read() as conn:
        for table in OF_TENANTS:
            facts[table] = {"mine": _all(conn, table)}
    settle(migrated_postgres, THEIRS)
    with migrated_postgres.read() as conn:
        for table in OF_TENANTS:
            facts[table]["theirs"] = [row for row in _all(conn, table) if row not in facts[table]["mine"]]
    yield facts
    empty(migrated_postgres)


@pytest.fixture
def conn(migrated_postgres: Database, shared: object) -> Iterator[sa.Connection]:
    """A transaction that acts for MINE and leaves nothing behind."""
    with migrated_postgres.transaction() as opened:
        act_for(opened, MINE)
        yield opened
        opened.get_transaction().rollback()


def _comparable(found: list[dict[str, Any]]) -> list[str]:
    return sorted(str(sorted(row.items())) for row in found)


def _all(conn: sa.Connection, table: str) -> list[dict[str, Any]]:
    return [dict(row) for row in conn.execute(sa.select(metadata.tables[table])).mappings()]


@pytest.mark.parametrize("table", OF_TENANTS)
def test_select_without_a_condition_finds_the_tenants_own_rows_only(conn, shared, table: str) -> None:
    assert shared[table]["mine"]
    assert shared[table]["theirs"]
    found = rows(conn, table)
    if table in NEVER_READ:
        assert found is None
        return
    mine = shared[table]["mine"]
    expected = [{"id": row["id"]} for row in mine] if table == "outbox" else mine
    assert _comparable(found or []) == _comparable(expected)


@pytest.mark.parametrize("table", OF_TENANTS)
@pytest.mark.parametrize("statement", ["UPDATE {table} SET {column} = {column}", "DELETE FROM {table}"])
def test_change_without_a_condition_leaves_other_tenants_rows(
    conn, migrated_postgres, shared, table: str, statement: str
) -> None:
    for column in (column for column in metadata.tables[table].c if column.computed is None):
        changed = attempt(conn, statement.format(table=table, column=column.name))
        assert changed in (None, 0, len(shared[table]["mine"]))
    with as_system(conn):
        left = _all(conn, table)
    assert all(row in left for row in shared[table]["theirs"])


@pytest.mark.parametrize("table", OF_TENANTS)
def test_row_of_another_tenant_is_not_inserted(conn, shared, table: str) -> None:
    described = metadata.tables[table]
    theirs = {name: value for name, value in shared[table]["theirs"][-1].items() if not described.c[name].computed}
    for column in described.primary_key:
        if isinstance(column.type, sa.Text) and not column.foreign_keys:
            theirs[column.name] = new_id("odd")
    if table == "outbox":
        del theirs["id"]
    assert attempt(conn, described.insert().values(theirs)) is None


@pytest.mark.parametrize("table", [table for table in OF_TENANTS if table not in THROUGH])
def test_row_is_not_handed_to_another_tenant(conn, table: str) -> None:
    assert attempt(conn, f"UPDATE {table} SET tenant = '{THEIRS}'") is None


@pytest.mark.parametrize("table", ["decisions", "review_items", "verdicts"])
def test_own_row_is_not_hung_on_another_tenants(conn, shared, table: str) -> None:
    theirs = shared[table]["theirs"][-1]
    row = {**theirs, "id": new_id("odd"), "tenant": MINE}
    assert attempt(conn, metadata.tables[table].insert().values(row)) is None


def test_audit_events_are_neither_changed_nor_deleted_by_a_tenant(conn) -> None:
    assert attempt(conn, "UPDATE audit_events SET salt = NULL, sealed = NULL") is None
    assert attempt(conn, "DELETE FROM audit_events") is None


def test_partitions_cannot_be_read_past_their_table(conn) -> None:
    assert attempt(conn, "SELECT * FROM audit_events_default") is None


@pytest.mark.parametrize("table", sorted(set(OF_TENANTS) - NEVER_READ))
def test_without_a_tenant_the_role_sees_nothing(migrated_postgres, shared, table: str) -> None:
    with migrated_postgres.transaction() as opened:
        opened.exec_driver_sql(f"SET LOCAL ROLE {ROLE}")
        assert rows(opened, table) == []


def test_every_table_with_a_tenant_is_under_row_level_security(migrated_postgres) -> None:
    query = "SELECT relname FROM pg_class JOIN pg_policy ON polrelid = pg_class.oid WHERE relrowsecurity"
    with migrated_postgres.read() as opened:
        assert set(opened.exec_driver_sql(query).scalars()) == set(OF_TENANTS)


def test_empty_tenant_is_a_mistake(conn) -> None:
    with pytest.raises(ValueError, match="tenant"):
        act_for(conn, "")


def _acting(conn: sa.Connection) -> tuple[str, str]:
    """The user in whose name statements run, and the tenant that is set."""
    query = f"SELECT current_user = session_user, coalesce(current_setting('{SETTING}', true), '')"
    system, tenant = conn.exec_driver_sql(query).one()
    return "system" if system else "tenant", tenant


@pytest.fixture
def one_connection(migrated_postgres: Database) -> Iterator[sa.Engine]:
    """A pool of one, so that what follows is the same connection."""
    engine = sa.create_engine(migrated_postgres.url, pool_size=1, max_overflow=0)
    yield engine
    engine.dispose()


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_pooled_connection_does_not_carry_the_tenant_on(one_connection: sa.Engine, end: str) -> None:
    with one_connection.connect() as opened:
        act_for(opened, MINE)
        assert _acting(opened) == ("tenant", MINE)
        getattr(opened, end)()
    with one_connection.connect() as opened:
        assert _acting(opened) == ("system", "")


def test_savepoint_that_is_rolled_back_takes_its_tenant_along(one_connection: sa.Engine) -> None:
    with one_connection.begin() as opened:
        savepoint = opened.begin_nested()
        act_for(opened, MINE)
        savepoint.rollback()
        assert _acting(opened) == ("system", "")


def test_next_write_of_a_group_acts_for_its_own_tenant(one_connection: sa.Engine) -> None:
    with one_connection.begin() as opened:
        for tenant, acting in ((MINE, "tenant"), (THEIRS, "tenant"), (None, "system")):
            with opened.begin_nested():
                act_for(opened, tenant)
            assert _acting(opened) == (acting, tenant or "")


def test_system_is_lent_to_a_tenants_transaction_and_given_back(one_connection: sa.Engine) -> None:
    with one_connection.begin() as opened:
        act_for(opened, MINE)
        with as_system(opened):
            assert _acting(opened) == ("system", "")
        assert _acting(opened) == ("tenant", MINE)


def test_system_is_given_back_when_it_refuses(one_connection: sa.Engine) -> None:
    with one_connection.begin() as opened:
        act_for(opened, MINE)
        with pytest.raises(LookupError), as_system(opened):
            raise LookupError
        assert _acting(opened) == ("tenant", MINE)


def test_system_is_given_back_when_the_database_refuses(one_connection: sa.Engine) -> None:
    with one_connection.begin() as opened:
        act_for(opened, MINE)
        with pytest.raises(sa.exc.DataError), opened.begin_nested(), as_system(opened):
            opened.exec_driver_sql("SELECT 1 / 0")
        assert _acting(opened) == ("tenant", MINE)


def test_sqlite_has_no_roles_to_take_on(tmp_path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/any.db")
    with database.transaction() as opened:
        act_for(opened, MINE)
        with as_system(opened):
            assert opened.exec_driver_sql("SELECT 1").scalar_one() == 1
    database.close()
