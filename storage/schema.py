"""Brings the tables from one version to another with Alembic, and knows which version the program expects."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from storage import obstructions, partitions, subjects
from storage.database import open_database
from storage.schema_errors import SchemaOutdated
from storage.vault import Vault

_MIGRATIONS = Path(__file__).parent / "migrations"
_ONLY_IN_POSTGRESQL = re.compile(r"audit_events_(y\d{4}m\d{2}|default)|ix_audit_events_at_brin")
_ADVISORY_LOCK = 0x636F756E  # any number that is ours: PostgreSQL lets one process migrate at a time


def upgrade(url: str, revision: str = "head", vault: Vault | None = None, *, vouch_for_waiting: bool = False) -> None:
    """Runs the migrations up to `revision` in one transaction. `vault`: the database's own; not needed on a new one.

    `vouch_for_waiting`: events of before there were MACs that wait to be sealed are vouched for as they stand.
    Raises DatabaseUnreachable; EventsWait where there are such events and nobody said so; KeysUnfit where the vault is
    needed, WrongMasterKey.
    """
    with _alone(url, vault) as conn:
        command.upgrade(_config(conn, vouch_for_waiting), revision)
        if revision == "head":
            subjects.require_own_master(conn)
            partitions.ensure_partitions(conn)


def downgrade(url: str, revision: str = "base") -> None:
    """Takes migrations back; the data of the tables that go is lost. Raises DatabaseUnreachable."""
    with _alone(url) as conn:
        command.downgrade(_config(conn), revision)


def check_schema(conn: Connection) -> None:
    """Raises SchemaOutdated, which says what to run, unless the tables are those of this program; TablesObstructed when
    something of somebody else stands on them."""
    wanted = ScriptDirectory.from_config(_config()).get_current_head()
    found = MigrationContext.configure(conn).get_current_revision()
    if found != wanted:
        raise SchemaOutdated(
            f"The database's tables are of version {found or 'none'}, this program needs {wanted}: "
            "run `countersign migrate`."
        )
    obstructions.require_none(conn)


def declared(thing: Any, name: str | None, kind: str, reflected: bool, compare_to: Any) -> bool:
    """Whether Alembic should look for a thing in storage.tables (its include_object)."""
    # Partitions repeat their parent's columns, and BRIN indexes exist on PostgreSQL alone: only migrations know them.
    return not (reflected and compare_to is None and _ONLY_IN_POSTGRESQL.fullmatch(name or ""))


@contextmanager
def _alone(url: str, vault: Vault | None = None) -> Iterator[Connection]:
    """A transaction that no other migration of this database runs beside."""
    database = open_database(url, vault, check_references=False)
    try:
        with database.transaction() as conn:
            if conn.dialect.name == "postgresql":
                conn.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
                conn.exec_driver_sql("SET LOCAL statement_timeout = 0")  # a large table takes as long as it takes
            yield conn
            _require_whole(conn)
    finally:
        database.close()


def _require_whole(conn: Connection) -> None:
    """On SQLite, whose references were not watched meanwhile. Raises SchemaOutdated, which rolls all of it back."""
    if conn.dialect.name != "sqlite":
        return
    astray = conn.exec_driver_sql("PRAGMA foreign_key_check").first()
    if astray is not None:
        raise SchemaOutdated(f"Nothing was migrated: a row of {astray[0]} refers to a row of {astray[2]} that is gone.")


def _config(conn: Connection | None = None, vouch_for_waiting: bool = False) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes |= {"connection": conn, "vouch_for_waiting": vouch_for_waiting}
    return config
