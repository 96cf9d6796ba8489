"""Keeps certificates as plain numbers; of a model at most one stands, in force or suspended."""

from __future__ import annotations

import functools
import math
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage import audit_log, calibrations, watch_heirs
from storage.audit_log import OPERATIONS_TENANT
from storage.certified import STANDING, CertificateState, StoredCalibration, StoredCertificate
from storage.database import now
from storage.errors import InvalidValue, NotFound
from storage.rows import calibration_from, certificate_from, parts
from storage.storable import checked_text, finite, to_json
from storage.tables import calibrations as calibration_rows
from storage.tables import certificates

_STANDING = tuple(state.value for state in STANDING)


def store(
    conn: Connection, body: dict[str, Any], actor: str = "system", tenant: str = OPERATIONS_TENANT
) -> StoredCertificate:
    """Keeps `body`, which names its "id", "model" and "calibration_id"; storing the same again changes nothing.

    Raises InvalidValue when one of them is missing or the calibration is another model's, or when other numbers are
    stored under this id; NotFound when the calibration is not stored.
    """
    certificate_id, model, calibration_id = (_named(body, name) for name in ("id", "model", "calibration_id"))
    text, found = to_json("body", body), get(conn, certificate_id)
    if found is not None:
        if to_json("body", found.body) != text:
            raise InvalidValue("id", f"{found.id!r} is stored with other numbers; give this certificate its own id.")
        return found
    calibration = calibrations.get(conn, calibration_id)
    if calibration is None:
        raise NotFound("calibration", calibration_id)
    if calibration.model != model:
        raise InvalidValue("model", f"is {model!r}, and the calibration {calibration_id} is of {calibration.model!r}.")
    at = now(conn)
    row = {"id": certificate_id, "model": model, "calibration_id": calibration_id, "body": text}
    conn.execute(certificates.insert(), {**row, "state": CertificateState.STORED.value, "created_at": at})
    stored = StoredCertificate(certificate_id, model, calibration_id, body, CertificateState.STORED, at)
    audit_log.append(conn, "certificate.stored", actor, tenant, data=_facts(stored))
    return stored


def activate(conn: Connection, certificate_id: str, actor: str, tenant: str = OPERATIONS_TENANT) -> StoredCertificate:
    """Puts it in force for its model, in place of the one that stood; one in force stays so.

    The watch over the one that stood goes on, unless that was suspended.

    Raises NotFound; InvalidValue for one that was suspended, or was stored before or made no later than its model's
    latest suspension: what it says is of a time whose answers were better than those that raised the alarm.
    """
    wanted = get_locked(conn, certificate_id)
    if wanted is None:
        raise NotFound("certificate", certificate_id)
    if wanted.state is CertificateState.IN_FORCE:
        return wanted
    since = suspended_since(conn, wanted.model)
    if wanted.suspended_at is not None or (since is not None and not _is_later(wanted, since)):
        raise InvalidValue("certificate", f"{wanted.id} is of before its model was suspended: make a new one.")
    before = standing(conn, wanted.model)
    if before is not None:
        _set_state(conn, before.id, CertificateState.SUPERSEDED)
    _set_state(conn, wanted.id, CertificateState.IN_FORCE)
    watch_heirs.inherit(conn, wanted, -math.inf if since is None else since)
    data = {**_facts(wanted), "instead_of": None if before is None else before.id}
    audit_log.append(conn, "certificate.activated", actor, tenant, data=data)
    return get(conn, certificate_id) or wanted


def suspend(
    conn: Connection, certificate_id: str, actor: str, why: dict[str, Any], tenant: str = OPERATIONS_TENANT
) -> bool:
    """From this commit on its model's answers are held. False when it is not in force (any more).

    `why`: facts for the audit event. Raises NotFound.
    """
    found = get_locked(conn, certificate_id)
    if found is None:
        raise NotFound("certificate", certificate_id)
    in_force = (certificates.c.id == certificate_id, certificates.c.state == CertificateState.IN_FORCE.value)
    values = {"state": CertificateState.SUSPENDED.value, "suspended_at": now(conn)}
    if not conn.execute(sa.update(certificates).where(*in_force).values(values)).rowcount:
        return False
    audit_log.append(conn, "certificate.suspended", actor, tenant, data={**_facts(found), **why})
    return True


def get(conn: Connection, certificate_id: str) -> StoredCertificate | None:
    row = conn.execute(sa.select(certificates).where(certificates.c.id == certificate_id)).one_or_none()
    return None if row is None else certificate_from(row)


def get_locked(conn: Connection, certificate_id: str) -> StoredCertificate | None:
    """As it is once nobody else changes what stands of its model; until this transaction ends, nobody does.

    So an activation and the alarm come one after the other. Decisions are recorded meanwhile: their keys stay.
    """
    model = sa.select(certificates.c.model).where(certificates.c.id == certificate_id).scalar_subquery()
    rows = sa.select(certificates.c.id).where(certificates.c.model == model).order_by(certificates.c.id)
    conn.execute(rows.with_for_update(key_share=True)).all()  # SQLite: whoever writes is alone
    return get(conn, certificate_id)


def standing(conn: Connection, model: str) -> StoredCertificate | None:
    """The one in force, or suspended and not yet superseded."""
    query = sa.select(certificates).where(certificates.c.model == model, certificates.c.state.in_(_STANDING))
    row = conn.execute(query).one_or_none()
    return None if row is None else certificate_from(row)


def in_force(conn: Connection) -> list[StoredCertificate]:
    """Of all models."""
    query = sa.select(certificates).where(certificates.c.state == CertificateState.IN_FORCE.value)
    return [certificate_from(row) for row in conn.execute(query.order_by(certificates.c.model))]


def in_use(conn: Connection, model: str) -> tuple[StoredCalibration | None, StoredCertificate | None]:
    """What the next question of this model is asked with: its active calibration and the certificate that stands.

    They may not belong together. One statement: both are of one moment.
    """
    row = conn.execute(_in_use(), {"model": model}).one()
    calibration, certificate = parts(row, (calibration_rows, certificates))
    return (
        None if calibration.id is None else calibration_from(calibration),
        None if certificate.id is None else certificate_from(certificate),
    )


def list_all(conn: Connection, model: str | None = None) -> list[StoredCertificate]:
    """Newest first."""
    query = sa.select(certificates).order_by(certificates.c.created_at.desc(), certificates.c.id)
    if model is not None:
        query = query.where(certificates.c.model == model)
    return [certificate_from(row) for row in conn.execute(query)]


def lock_attempts(conn: Connection) -> None:
    """Until the transaction ends nobody else counts attempts or stores one; SQLite has one writer anyway."""
    if conn.dialect.name == "postgresql":
        conn.execute(sa.text("LOCK TABLE certificates IN SHARE ROW EXCLUSIVE MODE"))


def count_stored(conn: Connection, model: str, since: float) -> int:
    """Certificates of this model, whatever their calibration, that were stored since `since` (unix seconds)."""
    mine = (certificates.c.model == model, certificates.c.created_at >= since)
    return int(conn.execute(sa.select(sa.func.count()).select_from(certificates).where(*mine)).scalar_one())


def suspended_since(conn: Connection, model: str) -> float | None:
    """When a certificate of the model was last suspended: labels of before tell nothing of what came after."""
    query = sa.select(sa.func.max(certificates.c.suspended_at)).where(certificates.c.model == model)
    return conn.execute(query).scalar()


def suspended(conn: Connection) -> int:
    """How many models have nothing released, since the alarm was raised or an operator said so."""
    held = certificates.c.state == CertificateState.SUSPENDED.value
    return int(conn.execute(sa.select(sa.func.count()).select_from(certificates).where(held)).scalar_one())


@functools.cache
def _in_use() -> sa.Select[Any]:
    """Made once: every question asks it."""
    model = sa.bindparam("model", type_=sa.Text)
    given = sa.select(model.label("model")).subquery("given")
    active = sa.and_(calibration_rows.c.model == given.c.model, calibration_rows.c.active)
    stands = sa.and_(certificates.c.model == given.c.model, certificates.c.state.in_(_STANDING))
    joined = given.outerjoin(calibration_rows, active).outerjoin(certificates, stands)
    return sa.select(calibration_rows, certificates).select_from(joined)


def _named(body: dict[str, Any], field: str) -> str:
    value = body.get(field)
    if not isinstance(value, str) or not value:
        raise InvalidValue(field, "a certificate's body must name it.")
    return checked_text(field, value)


def _is_later(stored: StoredCertificate, since: float) -> bool:
    """By its own word, and by the database's: when it was made is told by whoever made it."""
    made_at = finite(stored.body.get("made_at"))
    return made_at is not None and made_at > since and stored.created_at > since


def _set_state(conn: Connection, certificate_id: str, state: CertificateState) -> None:
    conn.execute(sa.update(certificates).where(certificates.c.id == certificate_id).values(state=state.value))


def _facts(stored: StoredCertificate) -> dict[str, Any]:
    numbers = {name: finite(stored.body.get(name)) for name in ("alpha", "delta")}
    return {"certificate": stored.id, "calibration": stored.calibration_id, "model": stored.model, **numbers}
