"""Whatever could keep the log's rows from being written or read is told before the program starts, and to auditors."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from sqlalchemy import Connection

from storage.database import Database, migrate, open_database
from storage.row_security import TenantsNotApart
from storage.schema import check_schema
from storage.schema_errors import TablesObstructed
from tests.storage.servers import new_database
from verifier.findings import Altered
from verifier.postgres_log import PostgresLog
from verifier.sqlite_log import SqliteLog

HIDE = "FOR EACH ROW EXECUTE FUNCTION hide()"
FUNCTION = "CREATE FUNCTION hide() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
RENAMED = "ALTER TABLE audit_leaves RENAME TO kept"
# what it is called, what makes it
SQLITE = [
    ("hides", ["CREATE TRIGGER hides AFTER INSERT ON audit_events BEGIN DELETE FROM audit_unsealed; END"]),
    ("hides", ["CREATE TRIGGER hides BEFORE INSERT ON interactions BEGIN DELETE FROM audit_events; END"]),
    ("Audit_Leaves", [RENAMED, "CREATE VIEW Audit_Leaves AS SELECT * FROM kept"]),
]
POSTGRESQL = [
    ("hides", [FUNCTION, f"CREATE TRIGGER hides BEFORE INSERT ON audit_unsealed {HIDE}"]),
    ("hides", [FUNCTION, f"CREATE TRIGGER hides BEFORE INSERT ON audit_events_default {HIDE}"]),
    ("hides", ["CREATE RULE hides AS ON INSERT TO audit_unsealed DO INSTEAD NOTHING"]),
    ("hides", ["CREATE POLICY hides ON audit_events AS RESTRICTIVE USING (kind <> 'decision')"]),
    ("tenant", ["ALTER POLICY tenant ON audit_events TO PUBLIC"]),
    ("audit_leaves", [RENAMED, "CREATE VIEW audit_leaves AS SELECT * FROM kept"]),
]
# what stands between tenants, and how the error says to put it back
APART = [
    ("ALTER TABLE audit_events DISABLE ROW LEVEL SECURITY", "ENABLE ROW LEVEL SECURITY"),
    ("ALTER TABLE interactions FORCE ROW LEVEL SECURITY", "NO FORCE ROW LEVEL SECURITY"),
    ("ALTER TABLE audit_leaves ENABLE ROW LEVEL SECURITY", "DISABLE ROW LEVEL SECURITY"),
    ("ALTER POLICY tenant ON audit_events USING (true)", "CREATE POLICY tenant ON audit_events"),
    (
        "ALTER POLICY tenant ON decisions WITH CHECK (tenant = current_setting('countersign.tenant', true))",
        "CREATE POL",
    ),
    ("DROP POLICY tenant ON drafts", "CREATE POLICY tenant ON drafts"),
]
CASES = [*(("sqlite", *case) for case in SQLITE), *(("postgresql", *case) for case in POSTGRESQL)]


@pytest.fixture
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of its own, as migrations leave it."""
    on_postgresql = request.param == "postgresql"
    url = new_database(request.getfixturevalue("postgres_url")) if on_postgresql else f"sqlite:///{tmp_path}/a.db"
    migrate(url)
    return url


def changed(url: str, statements: list[str]) -> Database:
    database = open_database(url)
    with database.transaction() as conn:
        for statement in statements:
            conn.exec_driver_sql(statement)
    return database


@pytest.mark.parametrize(("fresh", "name", "statements"), CASES, indirect=["fresh"])
def test_what_is_not_ours_is_refused_and_named(fresh: str, name: str, statements: list[str]) -> None:
    database = changed(fresh, statements)
    with contextlib.closing(database), pytest.raises(TablesObstructed, match=name), database.read() as conn:
        check_schema(conn)
    with pytest.raises(Altered, match=name):
        look(fresh)


@pytest.mark.parametrize("fresh", ["postgresql"], indirect=True)
def test_tenants_that_are_not_kept_apart_are_told_with_what_puts_it_right(fresh: str) -> None:
    with contextlib.closing(open_database(fresh)) as database:
        for statement, mend in APART:
            with pytest.raises(TenantsNotApart, match=mend) as told, database.transaction() as conn:
                after(conn, statement)
            with database.transaction() as conn:
                conn.exec_driver_sql(statement)
                for each in str(told.value).partition("then run: ")[2].split("; "):
                    conn.exec_driver_sql(each)
                check_schema(conn)


def after(conn: Connection, statement: str) -> None:
    conn.exec_driver_sql(statement)
    check_schema(conn)


def look(url: str) -> None:
    if url.startswith("sqlite"):
        SqliteLog(Path(url.removeprefix("sqlite:///"))).close()
    else:
        PostgresLog(url.replace("postgresql+psycopg", "postgresql")).close()


@pytest.mark.parametrize("fresh", ["sqlite", "postgresql"], indirect=True)
def test_what_is_ours_and_what_stands_elsewhere_is_accepted(fresh: str) -> None:
    elsewhere = ["CREATE TABLE others (id INTEGER)", "CREATE VIEW seen AS SELECT * FROM others"]
    with contextlib.closing(changed(fresh, elsewhere)) as database, database.read() as conn:
        check_schema(conn)
    look(fresh)
