"""Knows in whose name a transaction acts: on PostgreSQL row-level security keeps it within its tenant."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

ROLE = "countersign_tenant"  # may not log in; migration 0003 says what it may do
SETTING = "countersign.tenant"
# Both hold until the transaction or the savepoint they were set in is rolled back, or the transaction ends: a pooled
# connection never carries a tenant on. A role that is NULL is the one that the session began with.
_ACT = sa.text(f"SELECT set_config('role', :role, true), set_config('{SETTING}', :tenant, true)")
_ACTING = sa.text(f"SELECT current_setting('role'), current_setting('{SETTING}', true)")


def act_for(conn: Connection, tenant: str | None) -> None:
    """From here on in this transaction only `tenant`'s rows exist; None: all rows, the system's own doing.

    One round trip on PostgreSQL; nothing on SQLite, which has no roles. Raises ValueError for an empty tenant.
    """
    if tenant == "":
        raise ValueError("tenant: is empty; None is the system.")
    if conn.dialect.name == "postgresql":
        conn.execute(_ACT, {"role": ROLE if tenant is not None else None, "tenant": tenant or ""})


@contextmanager
def as_system(conn: Connection) -> Iterator[None]:
    """What a tenant's transaction may not do itself, such as erasing from the audit log; the tenant acts on after it.

    The tenant acts on also when the block raises, unless the database refused a statement: then the transaction, or the
    savepoint, can only be rolled back, which brings the tenant back too.
    """
    if conn.dialect.name != "postgresql":
        yield
        return
    role, tenant = conn.execute(_ACTING).one()
    act_for(conn, None)
    try:
        yield
    finally:
        if role == ROLE and _is_usable(conn):
            act_for(conn, tenant)


def _is_usable(conn: Connection) -> bool:
    driver: Any = conn.connection.driver_connection
    return bool(driver.info.transaction_status == driver.info.transaction_status.INTRANS)
