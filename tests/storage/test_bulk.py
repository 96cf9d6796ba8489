"""Rows that are inserted together come back as they were, whatever their text holds."""

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.bulk import insert_rows
from storage.database import Database
from storage.tables import drafts, interactions, policies

ODD = [
    '"',
    "\\",
    '\\"',
    "{",
    "}",
    ",",
    "NULL",
    "null",
    "",
    " ",
    "é",
    "\n",
    "{a,b}",
    "\\N",
    "'; --",
    "%s",
    ":name",
    "😀",
]
TEXT = st.one_of(st.sampled_from(ODD), st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",))))


def policy(number: int, name: str, threshold: float, four_eyes: bool) -> dict[str, object]:
    return {
        "id": f"pol_{number}",
        "version": number,
        "tenant": "acme",
        "name": name,
        "threshold": threshold,
        "below": "hold",
        "review_seconds": 86_400.0,
        "tier": "base",
        "four_eyes": four_eyes,
        "without_certificate": "hold",
        "audit_share": threshold,
        "created_at": 0.1 + 0.2,
    }


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(TEXT, st.floats(0, 1), st.booleans()), min_size=1, max_size=20))
def test_rows_come_back_unchanged(database: Database, rows: list[tuple[str, float, bool]]) -> None:
    made = [policy(number, *row) for number, row in enumerate(rows)]
    with database.transaction() as conn:
        conn.execute(policies.delete())
        insert_rows(conn, policies, made)
        found = conn.execute(sa.select(policies).order_by(policies.c.version)).mappings().all()
    assert [dict(row) for row in found] == made


def test_nothing_and_null_are_kept_apart_from_the_word(database: Database) -> None:
    asked = {name.name: None for name in interactions.columns if name.nullable}
    given_ = {name.name: "NULL" for name in interactions.columns if not name.nullable}
    row = {**asked, **given_, "created_at": 1.0, "retry_count": 3}
    with database.transaction() as conn:
        insert_rows(conn, interactions, [row])
        assert dict(conn.execute(sa.select(interactions)).mappings().one()) == row


def test_no_rows_are_no_statement(database: Database) -> None:
    with database.transaction() as conn:
        insert_rows(conn, drafts, [])
        assert conn.execute(sa.select(drafts)).all() == []


@pytest.mark.parametrize("missing", ["tenant", "name"])
def test_a_row_that_breaks_a_rule_is_refused_with_all(database: Database, missing: str) -> None:
    rows = [policy(1, "a", 0.5, False), policy(2, "b", 0.5, False) | {missing: None}]
    with pytest.raises(sa.exc.IntegrityError), database.transaction() as conn:
        insert_rows(conn, policies, rows)
    with database.read() as conn:
        assert conn.execute(sa.select(policies)).all() == []


def test_a_nul_does_not_make_two_values_of_one(migrated_postgres: Database) -> None:
    made = [policy(1, "a\x00b", 0.5, False), policy(2, "c", 0.5, False)]
    with pytest.raises((sa.exc.DBAPIError, ValueError)), migrated_postgres.transaction() as conn:
        insert_rows(conn, policies, made)
    with migrated_postgres.read() as conn:
        names = conn.execute(sa.select(policies.c.name).where(policies.c.name.in_(["a", "b", "c"])))
        assert names.all() == []
