"""Puts a fitted calibration and its certificate into use in the product's database, when a person says so."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from gateway.operations import ACTOR, opened
from gateway.settings import Settings
from serving.confidence.calibration import calibration_to_json
from storage import calibrations
from storage.database import Database
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
    if not (sys.stdin is not None and sys.stdin.isatty()):
        return False
    settings = Settings()
    if not has_database(settings):
        return False
    with product_database(settings) as database, database.read() as connection:
        before = calibrations.active(connection, fitted.calibration.model)
    instead = f" instead of {before.id}" if before else ""
    console.print(_consequence(fitted), highlight=False)
    told = console.input(f"Activate {fitted.calibration.id} for {fitted.calibration.model}{instead}? \\[y/N] ")
    return told.strip().lower() in ("y", "yes")


def activate(fitted: Fitted, settings: Settings) -> None:
    """Both act on the next ask; one transaction, so that no ask sees the one without the other."""
    with product_database(settings) as database, database.transaction() as connection:
        stored = calibrations.store(connection, calibration_to_json(fitted.calibration), ACTOR)
        calibrations.activate(connection, stored.id, ACTOR)


def _consequence(fitted: Fitted) -> str:
    certified = [bound for bound in fitted.certificate.bounds.values() if bound.threshold is not None]
    if not certified:
        return "Nothing is certified: unless a policy releases without a certificate, every answer will be held."
    return f"The certificate bounds errors to {fitted.certificate.alpha:.1%} among the answers that it lets out."
