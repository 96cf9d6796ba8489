"""Keeps calibrations as plain numbers; at most one is active for a model."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage import audit_log
from storage.audit_log import OPERATIONS_TENANT
from storage.database import now
from storage.errors import InvalidValue, NotFound
from storage.records import StoredCalibration
from storage.rows import calibration_from
from storage.storable import checked_text, to_json
from storage.tables import calibrations


def store(
    conn: Connection, body: dict[str, Any], actor: str = "system", tenant: str = OPERATIONS_TENANT
) -> StoredCalibration:
    """Keeps `body`, which names its "id" and the "model" it was fitted for; storing the same again changes nothing.

    Raises InvalidValue when one of the two is missing, or when other numbers are stored under this id.
    """
    named = {field: body.get(field) for field in ("id", "model")}
    for field, value in named.items():
        if not isinstance(value, str) or not value:
            raise InvalidValue(field, "a calibration's body must name it.")
    text, found = to_json("body", body), get(conn, str(named["id"]))
    if found is not None:
        if to_json("body", found.body) != text:
            raise InvalidValue("id", f"{found.id!r} is stored with other numbers; give this calibration its own id.")
        return found
    stored = StoredCalibration(
        checked_text("id", str(named["id"])), checked_text("model", str(named["model"])), body, False, now(conn)
    )
    row = {"id": stored.id, "model": stored.model, "body": text, "active": False, "created_at": stored.created_at}
    conn.execute(calibrations.insert(), row)
    data = {"calibration": stored.id, "model": stored.model}
    audit_log.append(conn, "calibration.stored", actor, tenant, data=data)
    return stored


def activate(conn: Connection, calibration_id: str, actor: str, tenant: str = OPERATIONS_TENANT) -> StoredCalibration:
    """Makes it the one its model uses from now on. Raises NotFound."""
    wanted = get(conn, calibration_id)
    if wanted is None:
        raise NotFound("calibration", calibration_id)
    before = active(conn, wanted.model)
    if before is not None and before.id == wanted.id:
        return before
    _set_active(conn, calibrations.c.model == wanted.model, False)
    _set_active(conn, calibrations.c.id == wanted.id, True)
    data = {"calibration": wanted.id, "model": wanted.model, "instead_of": before.id if before else None}
    audit_log.append(conn, "calibration.activated", actor, tenant, data=data)
    return get(conn, calibration_id) or wanted


def active(conn: Connection, model: str) -> StoredCalibration | None:
    return _one(conn, calibrations.c.model == model, calibrations.c.active)


def list_active(conn: Connection) -> list[StoredCalibration]:
    """One a model at most."""
    query = sa.select(calibrations).where(calibrations.c.active).order_by(calibrations.c.model)
    return [calibration_from(row) for row in conn.execute(query)]


def list_all(conn: Connection, model: str | None = None) -> list[StoredCalibration]:
    """Newest first; of one model, or of all."""
    query = sa.select(calibrations).order_by(calibrations.c.created_at.desc(), calibrations.c.id.desc())
    if model is not None:
        query = query.where(calibrations.c.model == model)
    return [calibration_from(row) for row in conn.execute(query)]


def get(conn: Connection, calibration_id: str) -> StoredCalibration | None:
    return _one(conn, calibrations.c.id == calibration_id)


def _one(conn: Connection, *conditions: sa.ColumnElement[bool]) -> StoredCalibration | None:
    row = conn.execute(sa.select(calibrations).where(*conditions)).one_or_none()
    return None if row is None else calibration_from(row)


def _set_active(conn: Connection, which: sa.ColumnElement[bool], value: bool) -> None:
    conn.execute(sa.update(calibrations).where(which).values(active=value))
