"""Puts the calibration and the certificate that ship with a checkpoint into use, unless the model has its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from launch.errors import CannotStart
from storage import calibrations, certificates
from storage.certified import CertificateState, StoredCalibration
from storage.database import Database
from storage.errors import InvalidValue

MAKE_ONE = "review some answers, then run: ./run countersign certificates make --activate"


@dataclass(frozen=True, slots=True)
class InUse:
    """What answers are released by from now on; None: every answer is held."""

    calibration_id: str | None
    certificate_id: str | None
    told: str  # one line for whoever started the product


def activate_shipped(database: Database, checkpoint: Path) -> InUse:
    """What is in use afterwards. A model that ever had a certificate keeps its own, a suspended one too.

    Raises CannotStart for a file that is there and is not what its name says.
    """
    path = checkpoint / "calibration.json"
    if not path.is_file():
        return InUse(None, None, "The checkpoint ships no calibration: every answer is held.")
    body = _body(path, "calibration", ("model",))
    with database.transaction() as connection:
        active = calibrations.active(connection, str(body["model"]))
        if active is None:
            stored = calibrations.store(connection, body)
            active = calibrations.activate(connection, stored.id, "system")
        _certify(connection, active, checkpoint / "certificate.json")
        return _in_use(connection, active, (checkpoint / "certificate.json").is_file())


def _certify(connection: Connection, active: StoredCalibration, path: Path) -> None:
    """By the shipped certificate, where it is about the calibration that is active and the model never had one."""
    if not path.is_file() or certificates.list_all(connection, active.model):
        return
    body = _body(path, "certificate", ("id", "model", "calibration_id"))
    if body["calibration_id"] == active.id:
        try:
            stored = certificates.store(connection, body)
        except InvalidValue as error:
            raise CannotStart(f"{path} is not a certificate: {error}") from error
        certificates.activate(connection, stored.id, "system")


def _in_use(connection: Connection, active: StoredCalibration, shipped: bool) -> InUse:
    standing = certificates.standing(connection, active.model)
    if standing is None:
        why = "The shipped certificate is about another calibration" if shipped else "No certificate ships with it"
        return InUse(active.id, None, f"{why}, so every answer is held: {MAKE_ONE}.")
    if standing.state is not CertificateState.IN_FORCE:
        return InUse(active.id, None, f"The certificate is suspended, so every answer is held: {MAKE_ONE}.")
    if standing.calibration_id != active.id:
        return InUse(active.id, None, f"The certificate is of another calibration; every answer is held: {MAKE_ONE}.")
    return InUse(active.id, standing.id, f"Answers are released by the certificate {standing.id}.")


def _body(path: Path, what: str, names: tuple[str, ...]) -> dict[str, Any]:
    """Raises CannotStart."""
    try:
        body = json.loads(path.read_text())
        if all(isinstance(body[name], str) for name in names):
            return dict(body)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise CannotStart(f"{path} is not a {what}: make a new one with ./run calibrate, or remove it.")
