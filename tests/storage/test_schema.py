"""Migrations make exactly the tables of the program, there and back, whoever runs them and however often."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from storage.database import migrate, open_database
from storage.schema import check_schema, declared, downgrade
from storage.schema_errors import SchemaOutdated
from storage.tables import metadata


def _tables(url: str) -> set[str]:
    database = open_database(url)
    with database.read() as conn:
        names = set(sa.inspect(conn).get_table_names())
    database.close()
    return names


def test_migrations_and_tables_agree(database) -> None:
    with database.read() as conn:
        context = MigrationContext.configure(conn, opts={"compare_type": True, "include_object": declared})
        assert compare_metadata(context, metadata) == []


def test_migrations_carry_every_check_that_the_tables_declare(database) -> None:
    declared = {
        (table.name, str(check.name))
        for table in metadata.tables.values()
        for check in table.constraints
        if isinstance(check, sa.CheckConstraint)
    }
    with database.read() as conn:
        inspector = sa.inspect(conn)
        found = {(name, check["name"]) for name in metadata.tables for check in inspector.get_check_constraints(name)}
    assert declared
    assert found == declared


def test_upgrade_downgrade_and_upgrade_again(empty_url: str) -> None:
    migrate(empty_url)
    assert set(metadata.tables) <= _tables(empty_url)
    downgrade(empty_url)
    assert _tables(empty_url) <= {"alembic_version"}
    migrate(empty_url)
    migrate(empty_url)
    assert set(metadata.tables) <= _tables(empty_url)


def test_two_processes_may_migrate_at_once(empty_url: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(migrate, [empty_url, empty_url]))
    assert set(metadata.tables) <= _tables(empty_url)


def test_database_without_tables_is_refused_with_what_to_run(empty_url: str) -> None:
    database = open_database(empty_url)
    with pytest.raises(SchemaOutdated, match="countersign migrate"), database.read() as conn:
        check_schema(conn)
    database.close()


def test_migrated_database_is_accepted(database) -> None:
    with database.read() as conn:
        check_schema(conn)
