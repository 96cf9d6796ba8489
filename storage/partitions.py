"""Keeps a partition of the audit events ready for each month, on PostgreSQL; SQLite has one table for all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from storage.audit_tables import audit_events
from storage.database import now

DEFAULT = "audit_events_default"  # takes what no month's partition does, so that an event is never refused
_ADVISORY_LOCK = 0x70617274  # any number that is ours
_EVER = (0.0, 253_370_764_800.0)  # 1970 to 9999: what claims to be of another time stays in the default partition
_ALIKE = "INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS"  # indexes come with the attaching
_NOT_FOR_LONG = "SET LOCAL lock_timeout = '2s'"  # who waits for such a lock keeps everybody else waiting
_FOUND = sa.text(
    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
    "WHERE i.inhparent = 'audit_events'::regclass AND c.relname <> :default ORDER BY c.relname"
)


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """One partition: the events of a calendar month in UTC."""

    year: int
    month: int

    @property
    def name(self) -> str:
        return f"audit_events_y{self.year:04}m{self.month:02}"

    @property
    def since(self) -> float:
        """Unix seconds, inclusive."""
        return datetime(self.year, self.month, 1, tzinfo=UTC).timestamp()

    @property
    def until(self) -> float:
        """Unix seconds, exclusive."""
        return self.later(1).since

    def later(self, months: int) -> Month:
        count = self.year * 12 + self.month - 1 + months
        return Month(count // 12, count % 12 + 1)


def ensure_partitions(conn: Connection, months_ahead: int = 3) -> list[Month]:
    """Makes the missing partitions of this month and the next ones, and of every month that the default one holds.

    A month's new table is filled and then attached, so who writes into other months goes on meanwhile; only rows that
    went astray into the default partition wait until they have moved. Returns what was made; on SQLite nothing. Raises
    DatabaseUnreachable (as its transaction does) when readers keep the default partition locked for too long.
    """
    if conn.dialect.name != "postgresql":
        return []
    conn.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))  # before anything is read: one at a time
    today = datetime.fromtimestamp(now(conn), UTC)
    wanted = {Month(today.year, today.month).later(ahead) for ahead in range(months_ahead + 1)}
    missing = sorted((wanted | _astray(conn)) - set(partitions(conn)))
    # Who attaches waits for readers of the default partition.
    conn.exec_driver_sql(_NOT_FOR_LONG)
    for month in missing:
        _make(conn, month)
    return missing


def partitions(conn: Connection) -> list[Month]:
    """Those there are, oldest first, without the default one."""
    if conn.dialect.name != "postgresql":
        return []
    return [Month(int(name[-7:-3]), int(name[-2:])) for name in conn.execute(_FOUND, {"default": DEFAULT}).scalars()]


def ended_before(conn: Connection, cutoff: float) -> list[Month]:
    """Partitions all of whose events are older than `cutoff` (unix seconds), oldest first."""
    return [month for month in partitions(conn) if month.until <= cutoff]


def keep(conn: Connection, month: Month) -> None:
    """Nobody adds to the month, or reads the log, until the transaction ends: to drop it if nothing is left in it.

    The whole log before its part, as readers take them: who has the one and waits for the other is not waited for.
    Raises DatabaseUnreachable, as `drop`.
    """
    conn.exec_driver_sql(_NOT_FOR_LONG)
    conn.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))  # nor is who makes partitions
    conn.exec_driver_sql("LOCK TABLE ONLY audit_events IN ACCESS EXCLUSIVE MODE")
    conn.exec_driver_sql(f"LOCK TABLE {month.name} IN ACCESS EXCLUSIVE MODE")


def drop(conn: Connection, months: Iterable[Month]) -> None:
    """Removes whole months of events at once; whoever calls has made sure that none of them must be kept.

    Everybody waits while they go. Raises DatabaseUnreachable (as its transaction does) when somebody reads or writes
    the log for too long: then try again later.
    """
    for month in months:
        conn.exec_driver_sql(_NOT_FOR_LONG)
        conn.exec_driver_sql(f"ALTER TABLE audit_events DETACH PARTITION {month.name}")
        conn.exec_driver_sql(f"DROP TABLE {month.name}")


def _astray(conn: Connection) -> set[Month]:
    """Months of which the default partition holds events: nobody made their partitions in time."""
    default = _partition(DEFAULT)
    in_utc = sa.func.timezone("UTC", sa.func.to_timestamp(default.c.at))
    parts = (sa.cast(sa.extract(part, in_utc), sa.Integer) for part in ("year", "month"))
    found = sa.select(*parts).where(default.c.at >= _EVER[0], default.c.at < _EVER[1]).distinct()
    return {Month(row[0], row[1]) for row in conn.execute(found)}


def _make(conn: Connection, month: Month) -> None:
    name, bounds = month.name, f"at >= {month.since} AND at < {month.until}"
    conn.exec_driver_sql(f"CREATE TABLE {name} (LIKE audit_events {_ALIKE})")
    conn.exec_driver_sql(f"ALTER TABLE {name} ADD CONSTRAINT its_month CHECK ({bounds})")  # attaching need not look
    _fill(conn, month)
    conn.exec_driver_sql(
        f"ALTER TABLE audit_events ATTACH PARTITION {name} FOR VALUES FROM ({month.since}) TO ({month.until})"
    )
    conn.exec_driver_sql(f"ALTER TABLE {name} DROP CONSTRAINT its_month")


def _fill(conn: Connection, month: Month) -> None:
    """Moves what went astray; it was, and after the commit is, found in exactly one place."""
    default, new = _partition(DEFAULT), _partition(month.name)
    its = (default.c.at >= month.since, default.c.at < month.until)
    if not conn.execute(sa.select(sa.exists().where(*its))).scalar_one():
        return
    conn.exec_driver_sql("SET LOCAL statement_timeout = '10min'")
    conn.exec_driver_sql(f"LOCK TABLE {DEFAULT} IN ACCESS EXCLUSIVE MODE")  # none may be added behind our back
    conn.execute(new.insert().from_select([column.name for column in new.c], sa.select(*default.c).where(*its)))
    conn.execute(default.delete().where(*its))


def _partition(name: str) -> sa.TableClause:
    return sa.table(name, *(sa.column(column.name) for column in audit_events.c if column.computed is None))
