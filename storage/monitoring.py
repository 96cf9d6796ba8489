"""Reads figures for dashboards: how much was asked, how sure it was, what waits, what people said."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage import review_reads
from storage.database import now
from storage.records import Action, ItemState, VerdictKind
from storage.tables import decisions, review_items, verdicts

HISTOGRAM_BINS = 20  # of width 0.05; the last one includes 1.0
_SECONDS_AN_HOUR = 3_600.0


def figures(conn: Connection, tenant: str, since: float) -> dict[str, Any]:
    """Plain numbers, as JSON can carry them; `since` in unix seconds bounds all but the queue.

    `confidence_histogram` has HISTOGRAM_BINS counts an action, `unknown_confidence` counts what no bin can hold;
    `hours` is oldest first and leaves empty hours out; `threshold` is that of the newest decision. What does not exist
    is None.
    """
    actions = _by_action(conn, tenant, since)
    total = sum(actions.values())
    reviewed = actions[Action.HOLD.value] + actions[Action.FLAG.value]
    histogram, unknown = _histogram(conn, tenant, since)
    states, oldest, at = review_reads.counts(conn, tenant), review_reads.oldest_waiting(conn, tenant), now(conn)
    return {
        "since": since,
        "until": at,
        "total": total,
        "actions": actions,
        "review_rate": reviewed / total if total else None,
        "threshold": _newest_threshold(conn, tenant, since),
        "confidence_histogram": histogram,
        "unknown_confidence": unknown,
        "states": states,
        "queue_depth": states[ItemState.PENDING.value],
        "claimed": states[ItemState.CLAIMED.value],
        "oldest_waiting_seconds": None if oldest is None else max(0.0, at - oldest),
        "verdicts": _verdicts(conn, tenant, since),
        "median_seconds_to_verdict": _median_to_verdict(conn, tenant, since),
        "hours": _by_hour(conn, tenant, since),
    }


def _by_action(conn: Connection, tenant: str, since: float) -> dict[str, int]:
    query = sa.select(decisions.c.action, sa.func.count()).where(*_decided(tenant, since)).group_by(decisions.c.action)
    found: dict[str, int] = {row[0]: row[1] for row in conn.execute(query)}
    return {action.value: found.get(action.value, 0) for action in Action}


def _histogram(conn: Connection, tenant: str, since: float) -> tuple[dict[str, list[int]], dict[str, int]]:
    bin_of = _floor(conn, decisions.c.confidence * HISTOGRAM_BINS).label("bin")
    query = sa.select(decisions.c.action, bin_of, sa.func.count()).where(*_decided(tenant, since))
    bins = {action.value: [0] * HISTOGRAM_BINS for action in Action}
    unknown = {action.value: 0 for action in Action}
    for action, number, count in conn.execute(query.group_by(decisions.c.action, bin_of)):
        if number is None:
            unknown[action] += count
        else:
            bins[action][min(max(int(number), 0), HISTOGRAM_BINS - 1)] += count
    return bins, unknown


def _newest_threshold(conn: Connection, tenant: str, since: float) -> float | None:
    query = sa.select(decisions.c.threshold).where(*_decided(tenant, since))
    return conn.execute(query.order_by(decisions.c.created_at.desc()).limit(1)).scalar()


def _verdicts(conn: Connection, tenant: str, since: float) -> dict[str, int]:
    query = sa.select(verdicts.c.kind, sa.func.count()).where(*_judged(tenant, since)).group_by(verdicts.c.kind)
    found: dict[str, int] = {row[0]: row[1] for row in conn.execute(query)}
    return {kind.value: found.get(kind.value, 0) for kind in VerdictKind}


def _median_to_verdict(conn: Connection, tenant: str, since: float) -> float | None:
    """From the item's creation to the verdict that ended it."""
    final = (*_judged(tenant, since), verdicts.c.final)
    joined = verdicts.join(review_items, review_items.c.id == verdicts.c.item_id)
    total = conn.execute(sa.select(sa.func.count()).select_from(joined).where(*final)).scalar_one()
    if total == 0:
        return None
    seconds = (verdicts.c.created_at - review_items.c.created_at).label("seconds")
    query = sa.select(seconds).select_from(joined).where(*final).order_by(seconds)
    middle = conn.execute(query.offset((total - 1) // 2).limit(2 - total % 2)).scalars().all()
    return float(sum(middle) / len(middle))


def _by_hour(conn: Connection, tenant: str, since: float) -> list[dict[str, Any]]:
    hour = _floor(conn, decisions.c.created_at / _SECONDS_AN_HOUR).label("hour")
    query = sa.select(hour, decisions.c.action, sa.func.count()).where(*_decided(tenant, since))
    hours: dict[float, dict[str, int]] = {}
    for number, action, count in conn.execute(query.group_by(hour, decisions.c.action)):
        counted = hours.setdefault(float(number) * _SECONDS_AN_HOUR, {action.value: 0 for action in Action})
        counted[action] = count
    return [{"hour": start, "total": sum(hours[start].values()), **hours[start]} for start in sorted(hours)]


def _floor(conn: Connection, number: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Of a number that is not negative. SQLite may be built without floor, PostgreSQL's cast rounds."""
    return sa.cast(number, sa.Integer) if conn.dialect.name == "sqlite" else sa.func.floor(number)


def _decided(tenant: str, since: float) -> tuple[sa.ColumnElement[bool], ...]:
    return decisions.c.tenant == tenant, decisions.c.created_at >= since


def _judged(tenant: str, since: float) -> tuple[sa.ColumnElement[bool], ...]:
    return verdicts.c.tenant == tenant, verdicts.c.created_at >= since
