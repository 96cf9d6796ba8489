"""Reads a log from PostgreSQL in one read-only snapshot; needs psycopg."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from verifier.events import Event
from verifier.findings import Altered, CannotRead, listed, printable
from verifier.postgres_catalog import SCHEMAS, SESSION, STRANGE, quoted
from verifier.reading import NO_EVENT, TABLES, Leaf
from verifier.sql_log import EVENT_COLUMNS, SqlLog, obstructed

PUBLIC = "public"  # where the product makes its tables unless it is told otherwise
_NO_URL = (
    "The database's URL cannot be read: write postgresql://USER:PASSWORD@HOST:PORT/NAME, and signs such as % and @ "
    "within a part of it as %25 and %40."
)
_DAY = 86_400.0  # seconds
_AT = 1  # the column in an event


class PostgresLog(SqlLog):
    """Raises CannotRead, also where row-level security would hide a part of the log."""

    def __init__(self, url: str, schema: str = PUBLIC) -> None:
        """`schema`: where the log's tables stand, whatever any search_path says."""
        try:
            import psycopg
        except ImportError as error:
            raise CannotRead("PostgreSQL needs its driver: pip install 'psycopg[binary]'.") from error
        if "?" in schema:  # the sign of our own placeholders
            raise CannotRead("A schema with a question mark in its name cannot be read here.")
        self.schema, self.within = schema, f"{quoted(schema)}."
        self._errors = psycopg.Error
        self._seen = (0.0, 0.0)  # the earliest and latest time in the chunk before
        try:
            self._conn = psycopg.connect(url, autocommit=True, connect_timeout=10)
        except (psycopg.ProgrammingError, ValueError) as error:  # their words may hold the URL's password
            raise CannotRead(_NO_URL) from error
        except self._errors as error:
            raise self._cannot(error) from error
        try:
            self._conn.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            for setting in SESSION:
                self._conn.execute(setting)
            self._cursor = self._conn.cursor(binary=True)
        except self._errors as error:
            raise self._cannot(error) from error
        try:
            self._only_tables()
        except (Altered, CannotRead):
            self.close()
            raise

    def _only_tables(self) -> None:
        """Raises Altered for what stands on the log's tables or in the place of one, CannotRead without any."""
        schemas = [name for (name,) in self.rows(SCHEMAS, list(TABLES))]
        self.elsewhere = tuple(name for name in schemas if name != self.schema)
        if self.schema not in schemas:
            hint = f"; --schema may name {listed(self.elsewhere)}, where there is one" if schemas else ""
            raise CannotRead(f"The database holds no audit log in the schema {printable(str(self.schema))}{hint}.")
        for kind, name, table in self.rows(STRANGE, self.schema, list(TABLES)):
            if kind == "view":
                raise Altered(f"{name} is a view, not a table: it can show each reader other events.")
            raise obstructed(kind, name, table)

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            return self._cursor.execute(query.replace("%", "%%").replace("?", "%s"), values).fetchall()
        except self._errors as error:
            raise self._cannot(error) from error
        except UnicodeError as error:
            raise CannotRead("The database cannot be read: a name or a text in it is not UTF-8.") from error

    def close(self) -> None:
        self._conn.close()

    def leaves(self) -> Iterator[Leaf]:
        """Events lie in monthly partitions: the times of one chunk tell where those of the next are likely to be."""
        leaves = f"SELECT l.leaf_index, l.event_id, l.hash FROM {self.within}audit_leaves AS l"
        chunk: list[tuple[Any, ...]] = []
        for leaf in self.by_key(leaves, "l.leaf_index"):
            chunk.append(leaf)
            if len(chunk) == 1024:
                yield from self._joined(chunk)
                chunk = []
        yield from self._joined(chunk)

    def _joined(self, leaves: list[tuple[Any, ...]]) -> Iterator[Leaf]:
        ids = [leaf[1] for leaf in leaves]
        early, late = self._seen
        these = f"SELECT {EVENT_COLUMNS} FROM {self.within}audit_events AS e WHERE e.id = ANY(?)"
        near = f"{these} AND e.at BETWEEN ? AND ?"
        events: dict[str, list[Event]] = {}
        self._sort(self.rows(near, ids, early - _DAY, late + _DAY) if late else [], events)
        elsewhere = [id_ for id_ in ids if id_ not in events]
        if elsewhere:
            self._sort(self.rows(these, elsewhere), events)
        times = [event[_AT] for found in events.values() for event in found if type(event[_AT]) is float]
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
