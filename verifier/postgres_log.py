"""Reads a log from PostgreSQL in one read-only snapshot; needs psycopg."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from verifier.events import Event
from verifier.findings import Altered, CannotRead
from verifier.reading import NO_EVENT, TABLES, Leaf
from verifier.sql_log import EVENT_COLUMNS, SqlLog, obstructed

_DAY = 86_400.0  # seconds
_EVENTS = f"SELECT {EVENT_COLUMNS} FROM audit_events AS e WHERE e.id = ANY(?)"
_AT = 1  # the column in an event


# The log's tables, their partitions and whatever else inherits from them; and what somebody put on them.
_OURS = """WITH RECURSIVE ours AS (SELECT to_regclass(name)::oid AS id FROM unnest(?::text[]) AS name
           UNION SELECT i.inhrelid FROM pg_inherits AS i JOIN ours ON i.inhparent = ours.id)"""
_STRANGE = f"""{_OURS}
    SELECT 'trigger', tgname::text, tgrelid::regclass::text FROM pg_trigger JOIN ours ON tgrelid = id
        WHERE NOT tgisinternal
    UNION ALL SELECT 'rule', rulename::text, ev_class::regclass::text FROM pg_rewrite JOIN ours ON ev_class = id
        WHERE rulename <> '_RETURN'
    UNION ALL SELECT 'policy', polname::text, polrelid::regclass::text FROM pg_policy JOIN ours ON polrelid = id
        WHERE polname <> 'tenant' OR polroles <> ARRAY(SELECT oid FROM pg_roles WHERE rolname = 'countersign_tenant')
    UNION ALL SELECT 'view', relname::text, relname::text FROM pg_class JOIN ours ON pg_class.oid = id
        WHERE relkind NOT IN ('r', 'p')"""


class PostgresLog(SqlLog):
    """Raises CannotRead, also where row-level security would hide a part of the log."""

    def __init__(self, url: str) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise CannotRead("PostgreSQL needs its driver: pip install 'psycopg[binary]'.") from error
        self._errors = psycopg.Error
        self._seen = (0.0, 0.0)  # the earliest and latest time in the chunk before
        try:
            self._conn = psycopg.connect(url, autocommit=True, connect_timeout=10)
            self._conn.execute("SET statement_timeout = 0")
            self._conn.execute("SET row_security = off")  # an error is better than a part of the log
            self._conn.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            self._cursor = self._conn.cursor(binary=True)
        except self._errors as error:
            raise self._cannot(error) from error
        self._only_tables()

    def _only_tables(self) -> None:
        """Raises Altered for what stands on the log's tables or in the place of one."""
        for kind, name, table in self.rows(_STRANGE, list(TABLES)):
            if kind == "view":
                raise Altered(f"{name} is a view, not a table: it can show each reader other events.")
            raise obstructed(kind, name, table)

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            return self._cursor.execute(query.replace("?", "%s"), values).fetchall()
        except self._errors as error:
            raise self._cannot(error) from error

    def close(self) -> None:
        self._conn.close()

    def leaves(self) -> Iterator[Leaf]:
        """Events lie in monthly partitions: the times of one chunk tell where those of the next are likely to be."""
        chunk: list[tuple[Any, ...]] = []
        for leaf in self.by_key("SELECT l.leaf_index, l.event_id, l.hash FROM audit_leaves AS l", "l.leaf_index"):
            chunk.append(leaf)
            if len(chunk) == 1024:
                yield from self._joined(chunk)
                chunk = []
        yield from self._joined(chunk)

    def _joined(self, leaves: list[tuple[Any, ...]]) -> Iterator[Leaf]:
        ids = [leaf[1] for leaf in leaves]
        early, late = self._seen
        near = f"{_EVENTS} AND e.at BETWEEN ? AND ?"
        events: dict[str, list[Event]] = {}
        self._sort(self.rows(near, ids, early - _DAY, late + _DAY) if late else [], events)
        elsewhere = [id_ for id_ in ids if id_ not in events]
        if elsewhere:
            self._sort(self.rows(_EVENTS, elsewhere), events)
        times = [event[_AT] for found in events.values() for event in found]
        if times:
            self._seen = (min(times), max(times))
        for index, id_, hash_ in leaves:
            for event in events.get(id_, [NO_EVENT]):
                yield index, id_, hash_, event

    @staticmethod
    def _sort(found: list[Event], events: dict[str, list[Event]]) -> None:
        for event in found:
            events.setdefault(event[0], []).append(event)

    def _cannot(self, error: Exception) -> CannotRead:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        if "does not exist" in why and "relation" in why:
            return CannotRead(f"The database holds no audit log ({why}).")
        if "row-level security" in why:
            return CannotRead(f"This user may see only a part of the log; use one that may see all of it ({why}).")
        return CannotRead(f"The database cannot be read: {why}.")
