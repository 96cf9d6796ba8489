"""Brings the tables from one version to another with Alembic, and knows which version the program expects."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from storage.database import open_database
from storage.errors import SchemaOutdated

_MIGRATIONS = Path(__file__).parent / "migrations"
_ADVISORY_LOCK = 0x636F756E  # any number that is ours: PostgreSQL lets one process migrate at a time


def upgrade(url: str, revision: str = "head") -> None:
    """Runs the migrations up to `revision` in one transaction. Raises DatabaseUnreachable."""
    _run(url, "upgrade", revision)


def downgrade(url: str, revision: str = "base") -> None:
    """Takes migrations back; the data of the tables that go is lost. Raises DatabaseUnreachable."""
    _run(url, "downgrade", revision)


def check_schema(conn: Connection) -> None:
    """Raises SchemaOutdated, which says what to run, unless the tables are those of this program."""
    wanted = ScriptDirectory.from_config(_config()).get_current_head()
    found = MigrationContext.configure(conn).get_current_revision()
    if found != wanted:
        raise SchemaOutdated(
            f"The database's tables are of version {found or 'none'}, this program needs {wanted}: "
            "run `countersign migrate`."
        )


def _run(url: str, direction: str, revision: str) -> None:
    database = open_database(url)
    try:
        with database.transaction() as conn:
            if conn.dialect.name == "postgresql":
                conn.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
            config = _config()
            config.attributes["connection"] = conn
            run = command.upgrade if direction == "upgrade" else command.downgrade
            run(config, revision)
    finally:
        database.close()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
