"""Puts the calibration that ships with a checkpoint into use, unless one is active for that model already."""

from __future__ import annotations

import json
from pathlib import Path

from launch.errors import CannotStart
from storage import calibrations
from storage.database import Database


def activate_shipped(database: Database, checkpoint: Path) -> str | None:
    """The active calibration's id; None when the checkpoint ships none (every answer is held then)."""
    path = checkpoint / "calibration.json"
    if not path.is_file():
        return None
    try:
        body = json.loads(path.read_text())
        model = str(body["model"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CannotStart(f"{path} is not a calibration: fit a new one with ./run calibrate, or remove it.") from error
    with database.transaction() as connection:
        active = calibrations.active(connection, model)
        if active is None:
            stored = calibrations.store(connection, body)
            active = calibrations.activate(connection, stored.id, "system")
        return active.id
