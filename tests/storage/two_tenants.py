"""Two tenants with a row each in every table that has tenants, and raw statements that forgot whose rows they want."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import ProgrammingError

from storage import keys, outbox, reviews
from storage.database import Database
from storage.ids import new_id
from storage.records import Role, VerdictKind
from storage.tables import metadata
from tests.storage.made import held, key

MINE, THEIRS = "acme", "globex"
# Tables whose rows are a tenant's through another row: the column that names it.
THROUGH = {"drafts": "item_id", "sign_ins": "key_id", "signin_links": "key_id", "outbox": "payload"}
OF_TENANTS = sorted({table.name for table in metadata.sorted_tables if "tenant" in table.c} | set(THROUGH))
REFUSED = "42501"  # insufficient_privilege: no grant, or a row that row-level security does not let in


def settle(database: Database, tenant: str) -> None:
    """A row of `tenant` in each of OF_TENANTS."""
    caller, reviewer = key(database, "chat", Role.CALLER, tenant), key(database, "Ada", tenant=tenant)
    decided, waiting = held(database, caller), held(database, caller)
    with database.transaction() as conn:
        link = keys.create_signin_link(conn, reviewer.id, 600.0)
        keys.redeem_signin_link(conn, link)
        claimed = reviews.claim(conn, decided.id, reviewer, 600.0)
        reviews.decide(conn, decided.id, reviewer, claimed.fencing_token, VerdictKind.APPROVE, "", None)
        claimed = reviews.claim(conn, waiting.id, reviewer, 600.0)
        reviews.save_draft(conn, waiting.id, reviewer, claimed.fencing_token, "text", "note")
        outbox.add(conn, outbox.REVIEW_ENQUEUE, {"item_id": waiting.id, "tenant": tenant})
        of_it = {"tenant": tenant, "created_at": 1.0}
        _insert(conn, "subjects", {**of_it, "id": new_id("sub"), "name_mac": new_id("mac"), "master_id": "m"})
        kept = {"body_hash": "b", "owner": "o", "lease_expires_at": 1.0, "expires_at": 1.0}
        _insert(conn, "idempotency", {**of_it, "key_id": caller.id, "name": new_id("idem"), **kept})
        hold = {"scope": "tenant", "target": tenant, "reason": "r", "placed_by": "p", "placed_at": 1.0}
        _insert(conn, "words", {"interaction_id": waiting.interaction_id, "word": "six", "tenant": tenant})
        _insert(conn, "legal_holds", {"id": new_id("hold"), "tenant": tenant, **hold})


def rows(conn: Connection, table: str) -> list[dict[str, Any]] | None:
    """Everything that a SELECT without any condition finds; None when not even the question is allowed."""
    columns = "id" if table == "outbox" else "*"  # of the outbox a tenant may read no more
    with _perhaps_refused(), conn.begin_nested():
        return [dict(row) for row in conn.execute(sa.text(f"SELECT {columns} FROM {table}")).mappings()]
    return None


def attempt(conn: Connection, statement: str | sa.Executable) -> int | None:
    """How many rows it changed; None when it was refused."""
    with _perhaps_refused(), conn.begin_nested():
        text = sa.text(statement) if isinstance(statement, str) else statement
        return int(conn.execute(text).rowcount)  # type: ignore[attr-defined]
    return None


@contextlib.contextmanager
def _perhaps_refused() -> Iterator[None]:
    try:
        yield
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) != REFUSED:
            raise


def _insert(conn: Connection, table: str, row: dict[str, Any]) -> None:
    conn.execute(metadata.tables[table].insert(), row)
