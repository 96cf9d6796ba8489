"""Lets exactly one process lead: a lease in the database, by the database's clock."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from storage.database import now
from storage.tables import leaders


def hold_leadership(conn: Connection, name: str, holder: str, seconds: float) -> bool:
    """Takes or renews the lease `name` for `seconds`; False while someone else holds it."""
    at = now(conn)
    insert = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
    row = {"name": name, "holder": holder, "expires_at": at + seconds}
    free = sa.or_(leaders.c.holder == holder, leaders.c.expires_at <= at)
    taken = insert(leaders).values(row).on_conflict_do_update(index_elements=["name"], set_=row, where=free)
    return conn.execute(taken.returning(leaders.c.name)).first() is not None


def give_up_leadership(conn: Connection, name: str, holder: str) -> None:
    """Lets the next one lead without waiting for the lease to end."""
    conn.execute(sa.delete(leaders).where(leaders.c.name == name, leaders.c.holder == holder))
