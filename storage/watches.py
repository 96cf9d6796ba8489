"""Keeps the watch over what a certificate released: which audits were counted, and what they came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage import audit_log, labels, watch_heirs
from storage.audit_log import OPERATIONS_TENANT
from storage.bulk import insert_rows
from storage.certificates import suspended_since
from storage.certified import Label, StoredCertificate, Watched, WatchPoint
from storage.errors import InvalidValue
from storage.records import Action, Reason
from storage.storable import from_json, to_json
from storage.tables import (
    certificates,
    decisions,
    interactions,
    policies,
    review_items,
    verdicts,
    watch_points,
    watches,
)

LATE_SECONDS = 600.0  # a verdict may be committed this long after others that were given later
MOST_POINTS = 200  # of a drawing


@dataclass(frozen=True, slots=True)
class Audited:
    """One released answer with the last word on it."""

    interaction_id: str
    domain: str | None
    wrong: bool
    at: float


def of(conn: Connection, certificate: StoredCertificate) -> Watched:
    """As it stands; a new one where nothing was counted yet.

    Raises ValueError where it is no object; whether its numbers are a watch's is told by who counts with them.
    """
    row = conn.execute(sa.select(watches).where(watches.c.certificate_id == certificate.id)).one_or_none()
    if row is None:  # nothing was released, by it or by those whose place it took, before they were there
        mine = certificates.c.id.in_(watch_heirs.family(conn, certificate.id, certificate.model))
        first = conn.execute(sa.select(sa.func.min(certificates.c.created_at)).where(mine)).scalar_one()
        return Watched(certificate.id, certificate.model, seen_at=first)
    state = from_json(row.state)
    if not isinstance(state, dict) or not state:  # an empty one would pass for a new watch
        raise InvalidValue("state", f"of the watch over {row.certificate_id} must be an object.")
    return Watched(row.certificate_id, row.model, state, row.audited, row.seen_at, row.alarmed_at)


def unseen(conn: Connection, watched: Watched, limit: int = 100) -> list[Audited]:
    """Audits of what this certificate released and that were not counted yet, in the order of their verdicts.

    So are those of what others of its family released since the model's latest suspension: whichever certificate they
    were counted under, each is counted once. Where the present one promises less risk than theirs, they may raise the
    alarm sooner than its δ says; to drop them would let an alarm be put off by activating another one.
    Audits that nobody decided are missing, as if they had not been drawn; so are records not written here.
    """
    found: list[Audited] = []
    after: Label | None = None
    while len(found) < limit and (read := _page(conn, watched, after, limit)):
        ours = labels.written_here(conn, read)
        found += [
            Audited(each.interaction_id, each.domain, not each.right, each.at)
            for each in read
            if each.interaction_id in ours
        ]
        after = read[-1]
    return found[:limit]


def advance(conn: Connection, watched: Watched, points: Sequence[WatchPoint], wealth: float) -> None:
    """Keeps the watch as it is after `points`. A second process that counted the same is refused (IntegrityError)."""
    values = {
        "model": watched.model,
        "state": to_json("state", dict(watched.state)),
        "audited": watched.audited,
        "seen_at": watched.seen_at,
        "alarmed_at": watched.alarmed_at,
    }
    mine = watches.c.certificate_id == watched.certificate_id
    if not conn.execute(sa.update(watches).where(mine).values(values)).rowcount:
        conn.execute(watches.insert(), {"certificate_id": watched.certificate_id, **values})
    insert_rows(conn, watch_points, [_row(watched.certificate_id, point) for point in points])
    data = {
        "certificate": watched.certificate_id,
        "model": watched.model,
        "counted": len(points),
        "wrong": sum(point.wrong for point in points),
        "audited": watched.audited,
        "wealth": wealth,
    }
    audit_log.append(conn, "watch.advanced", "worker", OPERATIONS_TENANT, data=data)


def points(conn: Connection, certificate_id: str, most: int = MOST_POINTS) -> list[WatchPoint]:
    """Evenly over all that were counted, the latest included, in their order."""
    table = watch_points.c
    mine = table.certificate_id == certificate_id
    last = conn.execute(sa.select(sa.func.max(table.number)).where(mine)).scalar() or 0
    step = -(-last // most) or 1
    query = sa.select(watch_points).where(mine, sa.or_(table.number % step == 0, table.number == last))
    return [_point(row) for row in conn.execute(query.order_by(table.number))]


def _page(conn: Connection, watched: Watched, after: Label | None, limit: int) -> list[Label]:
    item, decided = review_items.c, decisions.c
    family = watch_heirs.family(conn, watched.certificate_id, watched.model)
    since = suspended_since(conn, watched.model)
    own = decided.certificate_id == watched.certificate_id
    counted = sa.and_(
        watch_points.c.certificate_id.in_(family),
        watch_points.c.interaction_id == item.interaction_id,
    )
    tables = (
        review_items.join(decisions, decided.interaction_id == item.interaction_id)
        .join(interactions, interactions.c.id == item.interaction_id)
        .join(verdicts, sa.and_(verdicts.c.item_id == item.id, verdicts.c.final))
        .outerjoin(policies, labels.RULE)
        .outerjoin(watch_points, counted)
    )
    released = [
        item.action == Action.RELEASE.value,
        item.decided_at > watched.seen_at - LATE_SECONDS,
        decided.certificate_id.in_(family),
        sa.or_(own, decided.created_at > (0.0 if since is None else since)),
        decided.action == Action.RELEASE.value,
        decided.audit_share > 0,
        decided.reason == Reason.CONFIDENT.value,
        watch_points.c.interaction_id.is_(None),
    ]
    place = (verdicts.c.created_at, verdicts.c.id)
    if after is not None:
        released.append(sa.tuple_(*place) > (after.at, after.verdict_id))
    query = sa.select(*labels.FACTS).select_from(tables).where(*released).order_by(*place).limit(limit)
    return [labels.label_from(row) for row in conn.execute(query)]


def _row(certificate_id: str, point: WatchPoint) -> dict[str, Any]:
    return {
        "certificate_id": certificate_id,
        "interaction_id": point.interaction_id,
        "number": point.number,
        "at": point.at,
        "wrong": point.wrong,
        "wealth": point.wealth,
    }


def _point(row: sa.Row[Any]) -> WatchPoint:
    return WatchPoint(row.interaction_id, row.number, row.at, bool(row.wrong), row.wealth)
