"""Puts a fitted calibration and its certificate into use in the product's database, when a person says so."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from sqlalchemy import Connection

from gateway.operations import ACTOR, opened
from gateway.settings import Settings
from serving.confidence.calibration import calibration_to_json
from serving.confidence.certificate import InvalidCertificate, certificate_from_json, certificate_to_json
from storage import calibrations, certificates
from storage.database import Database
from training.calibration_certificate import certifies_anything, promise
from training.calibration_fitting import Fitted
from training.labelled_file import Refused


def has_database(settings: Settings) -> bool:
    """Whether the product ever ran here, so that there is something to read reviews from or to activate in."""
    return bool(settings.database_url) or (settings.home / "countersign.db").is_file()


@contextmanager
def product_database(settings: Settings) -> Iterator[Database]:
    """As the product's own commands open it. Raises StorageError; Refused where the product never ran."""
    if not has_database(settings):
        raise Refused(
            f"There is no database in {settings.home.absolute()}: start the product once with ./run up, or name its "
            "home in COUNTERSIGN_HOME or its database in DATABASE_URL."
        )
    with opened(settings) as database:
        yield database


def may_activate(console: Console, fitted: Fitted, *, yes: bool) -> bool:
    """Whether a person agrees, or agreed beforehand. Where nobody can be asked, nobody has agreed."""
    if yes:
        return True
    settings = Settings()
    if not (sys.stdin is not None and sys.stdin.isatty() and has_database(settings)):
        return False
    with product_database(settings) as database, database.read() as connection:
        console.print(_consequence(connection, fitted), highlight=False, markup=False)
    question = f"Activate {fitted.calibration.id} for {fitted.calibration.model}? [y/N] "
    try:
        return console.input(question, markup=False).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def keep(fitted: Fitted, settings: Settings, attempt: int) -> None:
    """Stores both and puts neither into use: the next attempt to certify this model counts this one.

    Raises Refused when another one was stored meanwhile: both would spend the same share of δ.
    """
    model = fitted.calibration.model
    with product_database(settings) as database, database.transaction() as connection:
        certificates.lock_attempts(connection)
        since = certificates.suspended_since(connection, model) or 0.0
        if certificates.count_stored(connection, model, since) != attempt - 1:
            raise Refused(f"{model} was certified by somebody else meanwhile: run this again.")
        _store(connection, fitted)


def activate(fitted: Fitted, settings: Settings) -> None:
    """Both act on the next ask; one transaction, so that no ask sees the one without the other.

    A certificate that certifies nothing is only stored: every answer is held then, as without any.
    """
    with product_database(settings) as database, database.transaction() as connection:
        _store(connection, fitted)
        calibrations.activate(connection, fitted.calibration.id, ACTOR)
        if certifies_anything(fitted.certificate):
            certificates.activate(connection, fitted.certificate.id, ACTOR)


def _store(connection: Connection, fitted: Fitted) -> None:
    calibrations.store(connection, calibration_to_json(fitted.calibration), ACTOR)
    body = certificate_to_json(fitted.certificate)
    try:
        certificate_from_json(body)
    except InvalidCertificate as error:  # what could not be read again is not stored
        raise Refused(f"The certificate cannot be stored: {error}.") from None
    certificates.store(connection, body, ACTOR)


def _consequence(connection: Connection, fitted: Fitted) -> str:
    """What activating would change, for the person who is asked."""
    model, certificate = fitted.calibration.model, fitted.certificate
    before = calibrations.active(connection, model)
    told = [f"It would take the place of {before.id}." if before else f"{model} has no calibration so far."]
    standing = certificates.standing(connection, model)
    if standing is not None and standing.suspended_at is not None:
        told.append(
            f"{standing.id} is suspended: these answers must be from after that, or the alarm is only silenced."
        )
    return " ".join([*told, promise(certificate)])
