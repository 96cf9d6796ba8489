"""What the database and Valkey hold at the end, as plain rows."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from storage.database import Database, now
from storage.tables import audit_events, decisions, idempotency, interactions, review_items, verdicts

Row = dict[str, Any]


@dataclass
class Snapshot:
    """Rows by table; `events` with their `data` read. `at` is the database's clock."""

    interactions: list[Row] = field(default_factory=list)
    decisions: list[Row] = field(default_factory=list)
    items: list[Row] = field(default_factory=list)
    verdicts: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)
    idempotency: list[Row] = field(default_factory=list)
    waiting: set[str] | None = None  # ids in Valkey's sets, where it was asked
    at: float = 0.0


def take(database: Database) -> Snapshot:
    """One consistent look. Raises DatabaseUnreachable."""
    with database.read() as connection:

        def rows(table: sa.Table) -> list[Row]:
            return [dict(row) for row in connection.execute(sa.select(table)).mappings()]

        events = [{**row, "data": json.loads(row["data"])} for row in rows(audit_events)]
        asked = [with_text(row) for row in rows(interactions)]
        return Snapshot(
            asked, rows(decisions), rows(review_items), rows(verdicts), events, rows(idempotency), at=now(connection)
        )


def with_text(row: Row) -> Row:
    """The answer's text and the caller's number of the question, in place of the whole."""
    answer, metadata = json.loads(row["answer"]), json.loads(row["metadata"])
    return {**row, "answer": None, "text": answer.get("text"), "question": metadata.get("question")}
