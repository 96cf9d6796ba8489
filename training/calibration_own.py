"""Has a checkpoint of our own answer fresh questions, own and foreign ones, and grades the answers."""

from __future__ import annotations

import os
from pathlib import Path

from training.calibration_asks import plan
from training.calibration_collect import collect
from training.calibration_options import Options
from training.calibration_rows import Row
from training.labelled_answers import Collected, Graded
from training.labelled_file import Refused


class MissingData(Refused):
    """Data that were asked for are not there."""

    exit_code = 2


def own_answers(options: Options) -> Collected:
    """Raises MissingData where GSM8K was asked for and is not there."""
    asks = plan(options.seed, options.own, options.foreign, _gsm8k() if options.gsm8k else None)
    rows = collect(options.checkpoint, asks, options.rows)
    return graded_rows(rows)


def graded_rows(rows: list[Row]) -> Collected:
    """Foreign questions are of no domain that the gateway could tell."""
    return Collected(rows[0].model, [Graded(row, row.domain) for row in rows])


def _gsm8k() -> Path:
    path = Path(os.environ.get("COUNTERSIGN_DATA", "data")) / "gsm8k" / "train.jsonl"
    if not path.is_file():
        raise MissingData(f"{path} does not exist; COUNTERSIGN_DATA must name the folder that holds gsm8k/.")
    return path
