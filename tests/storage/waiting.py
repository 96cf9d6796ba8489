"""Finds out that a transaction waits for another one's lock."""

import time

import sqlalchemy as sa

from storage.database import Database


def until_one_waits(database: Database) -> None:
    """On PostgreSQL, for a lock; on SQLite whoever writes second waits for the first one's end anyway."""
    waiting = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    deadline = time.monotonic() + 10
    while database.dialect == "postgresql":
        with database.read() as conn:
            if conn.execute(waiting).scalar():
                return
        assert time.monotonic() < deadline, "nobody waits"
        time.sleep(0.01)
