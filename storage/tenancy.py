"""Narrows a PostgreSQL transaction to one tenant's rows; SQLite has no such means."""

from __future__ import annotations

from sqlalchemy import Connection


def act_for(conn: Connection, tenant: str | None) -> None:
    """Until the transaction ends or this is called again; None: the system's own role, which sees every tenant."""
