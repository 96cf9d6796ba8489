"""Reads what is told of confidence beside the labels: how much was released, and the signals of recent answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage.records import Action
from storage.storable import from_json
from storage.tables import decisions, interactions


def released(conn: Connection, tenant: str, calibration_id: str, since: float) -> int:
    """Answers that left at once under this calibration since `since` (unix seconds), audited or not."""
    mine = (
        decisions.c.tenant == tenant,
        decisions.c.created_at >= since,
        decisions.c.action == Action.RELEASE.value,
        decisions.c.calibration_id == calibration_id,
    )
    return int(conn.execute(sa.select(sa.func.count()).select_from(decisions).where(*mine)).scalar_one())


def asks_per_day(conn: Connection, tenant: str, since: float, until: float) -> float | None:
    """Over the days since `since`, or since the first question if that is later; None without one.

    The first day counts whole: of an hour's questions nobody can tell a day's.
    """
    mine = (decisions.c.tenant == tenant, decisions.c.created_at >= since)
    count, first = conn.execute(sa.select(sa.func.count(), sa.func.min(decisions.c.created_at)).where(*mine)).one()
    return None if not count else float(count) / max(1.0, (until - first) / 86_400.0)


def mean_audit_share(conn: Connection, tenant: str, since: float) -> float | None:
    """Of what was released since `since`; None where nothing was."""
    out = (decisions.c.tenant == tenant, decisions.c.created_at >= since, decisions.c.audit_share.is_not(None))
    return conn.execute(sa.select(sa.func.avg(decisions.c.audit_share)).where(*out)).scalar()


def recent_signals(conn: Connection, tenant: str, model: str, limit: int) -> list[Mapping[str, Any]]:
    """Name → value of the newest answers of this model; what is stored and cannot be read is left out."""
    asked = interactions.c
    mine = (asked.tenant == tenant, asked.served_model == model, asked.deleted_at.is_(None))
    query = sa.select(asked.answer).where(*mine).order_by(asked.created_at.desc(), asked.id.desc()).limit(limit)
    found: list[Mapping[str, Any]] = []
    for answer in conn.execute(query).scalars():
        try:
            found.append(dict(from_json(answer)["confidence"]["signals"]))
        except (KeyError, TypeError, ValueError):
            continue
    return found
