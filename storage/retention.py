"""Removes audit events and contents whose retention has ended, never earlier than the floor, never under a hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage import audit_log, erasure, legal_holds, partitions, proofs
from storage.audit_log import OPERATIONS_TENANT
from storage.audit_tables import audit_events, audit_leaves
from storage.database import Database, now
from storage.errors import PurgeTooEarly
from storage.legal_holds import LegalHold, Scope
from storage.storable import from_json
from storage.tables import interactions

FLOOR_DAYS = 183.0  # six months: EU AI Act, Articles 19 and 26(6)
_DAY = 86_400.0
_ADVISORY_LOCK = 0x70757267  # any number that is ours
_AT_ONCE = 2_000  # leaves of one transaction
_CONTENTS_AT_ONCE = 100  # interactions of one transaction, which have much to change


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge removed."""

    events: int
    interactions: int  # that lost their content
    before_index: int  # no event is left whose leaf comes before this one
    cutoff: float  # unix seconds
    held: bool  # whether a legal hold stopped it early


@dataclass(frozen=True, slots=True)
class _Holds:
    """What stands, ready to be compared with rows."""

    tenants: frozenset[str]
    subjects: frozenset[str]
    interactions: frozenset[str]

    def keep(self, tenant: str, subject: str | None, interaction_id: str | None) -> bool:
        return tenant in self.tenants or subject in self.subjects or interaction_id in self.interactions


def purge(database: Database, older_than_days: float, actor: str) -> Purged:
    """Removes the events of the whole log, and every tenant's contents, that are older by the database's clock.

    Events go from the log's beginning up to the first that is younger or under a legal hold, so that what is left is
    one piece; their leaves stay, and the log still verifies. They must have been sealed before the cutoff too, which a
    signed checkpoint shows. In transactions of bounded size: what was done stays done when one fails. Raises
    PurgeTooEarly, DatabaseUnreachable.
    """
    if not older_than_days >= FLOOR_DAYS:  # NaN too
        raise PurgeTooEarly(older_than_days, FLOOR_DAYS)
    with database.read() as conn:
        cutoff = now(conn) - older_than_days * _DAY
    emptied = sum(_emptied(database, cutoff, actor))
    steps = list(_removed(database, cutoff, actor))
    with database.transaction() as conn:
        _drop_empty(conn, cutoff)
        before, held = _start(conn), steps[-1].held
    return Purged(sum(step.events for step in steps), emptied, before, cutoff, held)


@dataclass(frozen=True, slots=True)
class _Step:
    events: int
    held: bool
    last: bool


def _removed(database: Database, cutoff: float, actor: str) -> Iterator[_Step]:
    while True:
        with database.transaction() as conn:
            step = _remove(conn, cutoff, actor)
        yield step
        if step.last:
            return


def _remove(conn: Connection, cutoff: float, actor: str) -> _Step:
    """One transaction's share of the events, and the event that says so."""
    _lock(conn)
    at = now(conn)
    cutoff = min(cutoff, at - FLOOR_DAYS * _DAY)  # even if the clock was set back since the purge began
    holds, start = _standing(conn), _start(conn)
    rows = _next_leaves(conn, start, proofs.sealed_by(conn, cutoff))
    gone: list[sa.Row[Any]] = []
    held = False
    for row in rows:
        held = row.at is not None and row.at < cutoff and holds.keep(row.tenant, row.whose, row.interaction_id)
        if held or row.at is None or row.at >= cutoff:
            break
        gone.append(row)
    if not gone:
        return _Step(0, held, last=True)
    _delete(conn, gone)
    data = {"before_index": gone[-1].leaf_index + 1, "cutoff": cutoff, "events": len(gone) + _told_before(gone)}
    audit_log.append(conn, "audit.purged", actor, OPERATIONS_TENANT, data=data, at=at)
    return _Step(len(gone), held, last=len(gone) < _AT_ONCE)


def _lock(conn: Connection) -> None:
    """One purge at a time: two would count the same events; SQLite has one writer anyway."""
    if conn.dialect.name == "postgresql":
        conn.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))


def _next_leaves(conn: Connection, start: int, end: int) -> list[sa.Row[Any]]:
    """Leaves from `start` on, those before `end` only."""
    leaf, event = audit_leaves.c, audit_events.c
    whose = sa.func.coalesce(event.subject, interactions.c.subject).label("whose")
    columns = (leaf.leaf_index, event.id, event.at, event.tenant, event.kind, event.data, event.interaction_id, whose)
    query = sa.select(*columns).select_from(audit_leaves).join(audit_events, event.id == leaf.event_id, isouter=True)
    query = query.join(interactions, interactions.c.id == event.interaction_id, isouter=True)
    within = leaf.leaf_index.between(start, min(start + _AT_ONCE, end) - 1)
    return list(conn.execute(query.where(within).order_by(leaf.leaf_index)))


def _delete(conn: Connection, rows: list[sa.Row[Any]]) -> None:
    within = audit_events.c.at.between(min(row.at for row in rows), max(row.at for row in rows))  # few partitions
    conn.execute(sa.delete(audit_events).where(within, audit_events.c.id.in_([row.id for row in rows])))


def _told_before(rows: list[sa.Row[Any]]) -> int:
    """Events that were removed by purges whose own events are removed now: the log must still count them."""
    return sum(int(from_json(row.data)["events"]) for row in rows if row.kind == "audit.purged")


def _start(conn: Connection) -> int:
    """The first leaf whose event was not purged."""
    event = audit_events.c
    purges = sa.select(event.data).where(event.tenant == OPERATIONS_TENANT, event.kind == "audit.purged")
    # not the newest by its time: a clock may have been set back between two purges
    return max((int(from_json(data)["before_index"]) for data in conn.execute(purges).scalars()), default=0)


def _emptied(database: Database, cutoff: float, actor: str) -> Iterator[int]:
    with database.read() as conn:
        tenants = conn.execute(sa.select(interactions.c.tenant).distinct()).scalars().all()
    for tenant in tenants:
        place: tuple[float, str] | None = (0.0, "")
        while place is not None:
            with database.transaction() as conn:
                rows = _expired(conn, tenant, cutoff, place)
                yield _empty(conn, tenant, rows, actor)
            place = (rows[-1].created_at, rows[-1].id) if rows else None


def _expired(conn: Connection, tenant: str, cutoff: float, after: tuple[float, str]) -> list[sa.Row[Any]]:
    table = interactions.c
    query = sa.select(table.id, table.subject, table.created_at, table.key_id)
    query = query.where(table.tenant == tenant, table.created_at < cutoff, table.deleted_at.is_(None))
    query = query.where(sa.tuple_(table.created_at, table.id) > after)
    return list(conn.execute(query.order_by(table.created_at, table.id).limit(_CONTENTS_AT_ONCE)))


def _empty(conn: Connection, tenant: str, rows: list[sa.Row[Any]], actor: str) -> int:
    holds = _standing(conn)
    free = [row for row in rows if not holds.keep(tenant, row.subject, row.id)]
    erasure.empty(conn, tenant, [row.id for row in free], actor)
    audit_log.append_many(conn, [_deletion(row, tenant, actor) for row in free])
    return len(free)


def _deletion(row: sa.Row[Any], tenant: str, actor: str) -> audit_log.NewEvent:
    data = {"key_id": row.key_id, "why": "retention"}
    return audit_log.NewEvent("interaction.deleted", actor, tenant, interaction_id=row.id, data=data)


def _standing(conn: Connection) -> _Holds:
    found: list[LegalHold] = legal_holds.standing(conn)

    def targets(scope: Scope) -> frozenset[str]:
        return frozenset(hold.target for hold in found if hold.scope is scope)

    return _Holds(targets(Scope.TENANT), targets(Scope.SUBJECT), targets(Scope.INTERACTION))


def _drop_empty(conn: Connection, cutoff: float) -> None:
    _lock(conn)  # another purge that has looked would wait for the partitions, and this one for it
    for month in partitions.ended_before(conn, cutoff):
        if not _is_empty(conn, month):  # without keeping everybody waiting
            return
        partitions.keep(conn, month)
        if not _is_empty(conn, month):
            return
        partitions.drop(conn, [month])


def _is_empty(conn: Connection, month: partitions.Month) -> bool:
    within = (audit_events.c.at >= month.since, audit_events.c.at < month.until)
    return conn.execute(sa.select(audit_events.c.id).where(*within).limit(1)).first() is None
