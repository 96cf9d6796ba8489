"""On PostgreSQL the tables that are read are those that were asked for, whatever settings and names lead elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from benchmarks.tampered_log import RealLog, real_log
from tests.storage.servers import new_database, postgres_server
from verifier.command import main
from verifier.reading import TABLES

AUDITOR = "auditor"  # a role that may read everything
ALTER_ONE = "UPDATE public.audit_events SET actor = 'key:innocent' WHERE id = %s"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as url, psycopg.connect(url, autocommit=True) as conn:
        conn.execute(f"CREATE ROLE {AUDITOR} LOGIN SUPERUSER")
        yield url


@pytest.fixture(scope="module")
def log(server: str, tmp_path_factory: pytest.TempPathFactory) -> RealLog:
    folder = tmp_path_factory.mktemp("log")
    made = real_log(new_database(server), folder, 64)
    (folder / "verify.pub").write_text(made.vkey)
    return made


@pytest.fixture
def url(server: str, log: RealLog) -> str:
    """The log in a database of the test's own."""
    copy = new_database(server)
    name, template = (sql.Identifier(address.split("?")[0].rsplit("/", 1)[1]) for address in (copy, log.url))
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {}").format(name))
        conn.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(name, template))
    return copy


@pytest.fixture
def owner(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url, autocommit=True) as conn:
        yield conn


def copy_into(owner: psycopg.Connection, schema: str) -> None:
    owner.execute(f"CREATE SCHEMA {schema}")
    for table in TABLES:
        owner.execute(f"CREATE TABLE {schema}.{table} AS TABLE public.{table}")


def verified(url: str, log: RealLog, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict[str, object]]:
    """As the auditor; exit status and what `--json` prints."""
    auditor = url.replace("postgres:@", f"{AUDITOR}:@", 1)
    key, outside = str(log.outside.parent / "verify.pub"), str(log.outside)
    status = main(["log", auditor, "--key", key, "--checkpoints", outside, "--json", *more])
    return status, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("schema", "setting"),
    [
        (AUDITOR, "SELECT 1"),  # "$user" comes first unless somebody says otherwise
        ("clean", "ALTER DATABASE {database} SET search_path = clean, public"),
        ("clean", "ALTER ROLE auditor IN DATABASE {database} SET search_path = clean, public"),
    ],
)
def test_a_clean_copy_that_settings_lead_to_hides_nothing(
    schema: str, setting: str, url: str, owner: psycopg.Connection, log: RealLog, capsys: pytest.CaptureFixture[str]
) -> None:
    copy_into(owner, schema)
    event_id = log.tables.audit_leaves[40][1]
    assert owner.execute(ALTER_ONE, [event_id]).rowcount == 1
    owner.execute(setting.format(database=owner.info.dbname))
    status, told = verified(url, log, capsys)
    assert (status, told.get("event_id"), told["schema"]) == (1, event_id, "public")


def test_the_same_tables_elsewhere_are_told_until_somebody_says_which_to_read(
    url: str, owner: psycopg.Connection, log: RealLog, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verified(url, log, capsys)[0] == 0
    copy_into(owner, "shown")
    owner.execute("UPDATE shown.audit_events SET actor = 'key:innocent'")
    status, told = verified(url, log, capsys)
    assert (status, told["verdict"]) == (2, "unreadable")
    assert "elsewhere as well: shown" in str(told["why"])
    status, told = verified(url, log, capsys, "--schema", "public")
    assert (status, told["schema"]) == (0, "public")
    assert "elsewhere as well: shown" in str(told["warnings"])
    assert verified(url, log, capsys, "--schema", "shown")[0] == 1


def test_a_log_in_a_schema_of_any_name_is_read_and_named(
    url: str, owner: psycopg.Connection, log: RealLog, capsys: pytest.CaptureFixture[str]
) -> None:
    name = 'o"dd %s; WHERE'
    owner.execute(sql.SQL("ALTER SCHEMA public RENAME TO {}").format(sql.Identifier(name)))
    status, told = verified(url, log, capsys)
    assert (status, f"--schema may name {name}" in str(told["why"])) == (2, True)
    status, told = verified(url, log, capsys, "--schema", name)
    assert (status, told["schema"]) == (0, name)


def test_operators_of_somebody_elses_are_not_used(
    url: str, owner: psycopg.Connection, log: RealLog, capsys: pytest.CaptureFixture[str]
) -> None:
    owner.execute("CREATE POLICY tenant ON public.audit_leaves TO auditor USING (leaf_index < 9)")
    owner.execute("CREATE FUNCTION public.never(oid[], oid[]) RETURNS boolean LANGUAGE sql AS 'SELECT false'")
    owner.execute("CREATE OPERATOR public.<> (LEFTARG = oid[], RIGHTARG = oid[], FUNCTION = public.never)")
    status, told = verified(url, log, capsys)
    assert (status, str(told["why"]).split(":")[0]) == (1, "There is a policy tenant on public.audit_leaves")


@pytest.mark.parametrize(
    "setting", ["client_encoding = 'LATIN1'", "client_encoding = 'SQL_ASCII'", "extra_float_digits = -15"]
)
def test_settings_of_a_role_change_nothing_that_is_read(
    setting: str, url: str, owner: psycopg.Connection, log: RealLog, capsys: pytest.CaptureFixture[str]
) -> None:
    owner.execute(f"ALTER ROLE {AUDITOR} IN DATABASE {owner.info.dbname} SET {setting}")
    assert verified(url, log, capsys)[0] == 0


def test_a_column_of_another_type_is_told(
    url: str, owner: psycopg.Connection, log: RealLog, capsys: pytest.CaptureFixture[str]
) -> None:
    owner.execute("ALTER TABLE public.audit_leaves ALTER event_id TYPE text[] USING ARRAY[event_id]")
    status, told = verified(url, log, capsys)
    assert (status, "column of the type text[] event_id on public.audit_leaves" in str(told["why"])) == (1, True)


def test_a_file_has_no_schema(tmp_path: Path, log: RealLog, capsys: pytest.CaptureFixture[str]) -> None:
    key = str(log.outside.parent / "verify.pub")
    assert main(["log", str(tmp_path / "log.db"), "--key", key, "--schema", "public"]) == 2
    assert "leave --schema out" in capsys.readouterr().err
