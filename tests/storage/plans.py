"""Sees which statements a connection executes, and how the database would go about each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

Statement = tuple[str, Any]  # text, parameters


@contextmanager
def statements(conn: Connection) -> Iterator[list[Statement]]:
    """Those that the block executes."""
    found: list[Statement] = []

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_others: Any) -> None:
        found.append((statement, parameters))

    sa.event.listen(conn, "before_cursor_execute", note)
    yield found
    sa.event.remove(conn, "before_cursor_execute", note)


def plan(conn: Connection, statement: Statement) -> str:
    explain = "EXPLAIN QUERY PLAN " if conn.dialect.name == "sqlite" else "EXPLAIN "
    return "\n".join(str(row[-1]) for row in conn.exec_driver_sql(explain + statement[0], statement[1]))
