"""Says what a certificate takes over from those whose place it took: their watch, and their audits still to come."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage.certified import CertificateState, StoredCertificate
from storage.rows import certificate_from
from storage.storable import finite, from_json
from storage.tables import certificates, watches


def family(conn: Connection, certificate_id: str, model: str) -> list[str]:
    """It and all that were superseded without having been suspended."""
    return list(conn.execute(sa.select(certificates.c.id).where(_family(certificate_id, model))).scalars())


def inherit(conn: Connection, heir: StoredCertificate, since: float) -> None:
    """The watch goes on where it stood, so that the alarm cannot be put off by one certificate after another.

    Only one that was never suspended has heirs, and what was counted before `since`, the model's latest suspension, is
    left behind. With an α below the heir's, the evidence is against a stricter promise than the heir's, so the watch
    starts anew; against a looser one it is evidence against the heir's, too.
    """
    query = sa.select(watches).join_from(watches, certificates).where(_family(heir.id, heir.model))
    rows = conn.execute(query.where(watches.c.seen_at > since)).all()
    fit = [row for row in rows if row.certificate_id == heir.id or _promised_as_little(conn, row.certificate_id, heir)]
    chosen = _chosen(conn, fit, heir)
    if chosen is None or chosen.certificate_id == heir.id:
        return
    values: dict[str, Any] = {**chosen._mapping, "certificate_id": heir.id}
    conn.execute(sa.delete(watches).where(watches.c.certificate_id == heir.id))
    conn.execute(watches.insert(), values)


def _chosen(conn: Connection, fit: Sequence[sa.Row[Any]], heir: StoredCertificate) -> sa.Row[Any] | None:
    """The longest of those against the heir's very α, or one against another α that has more evidence.

    Only the longest would forget: a certificate with a looser α, in between, has a watch of its own that began anew.
    """
    alike = [row for row in fit if row.certificate_id == heir.id or _alpha_of(conn, row.certificate_id) == _alpha(heir)]
    longest = max(alike, key=lambda row: (row.audited, row.certificate_id == heir.id), default=None)
    others = [row for row in fit if row not in alike]
    strongest = max(others, key=_evidence, default=None)
    if longest is None or strongest is None:
        return longest or strongest
    return strongest if _evidence(strongest) > _evidence(longest) else longest


def _evidence(row: sa.Row[Any]) -> float:
    """In doubt as much as there can be: a watch that goes on holds sooner."""
    state = from_json(row.state)
    wealth = finite(state.get("wealth")) if isinstance(state, dict) else None
    return math.inf if wealth is None else wealth


def _alpha_of(conn: Connection, certificate_id: str) -> float | None:
    row = conn.execute(sa.select(certificates).where(certificates.c.id == certificate_id)).one()
    return _alpha(certificate_from(row))


def _alpha(stored: StoredCertificate) -> float | None:
    return finite(stored.body.get("alpha"))


def _promised_as_little(conn: Connection, certificate_id: str, heir: StoredCertificate) -> bool:
    """In doubt, yes: a watch that goes on holds sooner."""
    before, now = _alpha_of(conn, certificate_id), _alpha(heir)
    return before is None or now is None or before >= now


def _family(certificate_id: str, model: str) -> sa.ColumnElement[bool]:
    row = certificates.c
    superseded = row.state == CertificateState.SUPERSEDED.value
    return sa.or_(row.id == certificate_id, sa.and_(row.model == model, superseded, row.suspended_at.is_(None)))
