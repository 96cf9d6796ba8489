"""Calibrations from the command line: `countersign calibrations …`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from gateway import operations
from gateway.operations import ACTOR, opened
from gateway.settings import Settings
from storage import calibrations as stored_calibrations
from storage.certified import StoredCalibration

calibrations = typer.Typer(no_args_is_help=True, help="What turns signals into a confidence.")
Model = Annotated[str | None, typer.Option(help="Only those of this model.")]


@calibrations.command("import")
def import_calibration(
    file: Path,
    activate: Annotated[bool, typer.Option("--activate", help="Use it from now on.")] = False,
    if_none: Annotated[bool, typer.Option("--activate-if-none", help="Use it if its model has none yet.")] = False,
) -> None:
    """Store a calibration and print its id."""
    typer.echo(operations.import_calibration(Settings(), file, activate=activate, if_none=if_none))


@calibrations.command("list")
def list_calibrations(model: Model = None) -> None:
    """One line a calibration, newest first: id, whether it is in use, model, answers it was fitted to, when stored."""
    with opened(Settings()) as found, found.read() as connection:
        for stored in stored_calibrations.list_all(connection, model):
            typer.echo(_line(stored))


@calibrations.command("activate")
def activate(calibration_id: str) -> None:
    """Use a stored one from the next question on. Its model's answers are held until a certificate is about it."""
    with opened(Settings()) as found, found.transaction() as connection:
        stored_calibrations.activate(connection, calibration_id, ACTOR)


def _line(stored: StoredCalibration) -> str:
    state, rows = "active" if stored.active else "stored", stored.body.get("rows")
    fitted = f"{rows} answers" if isinstance(rows, int) else "-"
    day = f"{datetime.fromtimestamp(stored.created_at, UTC):%Y-%m-%d}"
    return "\t".join((stored.id, state, stored.model, fitted, day))
