"""Has a checkpoint of our own answer fresh questions, own and foreign ones, and grades the answers."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from training.calibration_asks import plan
from training.calibration_collect import collect
from training.calibration_fit import BAND, fit
from training.calibration_fitting import refuse_too_few
from training.calibration_options import Options
from training.calibration_report import confidence
from training.calibration_rows import Row, in_second_half
from training.labelled_answers import Collected, Graded
from training.labelled_file import Refused

NEAR = 2.0  # so many times closer to nought or one than the band's ends is near: later fits may move a row that far


class MissingData(Refused):
    """Data that were asked for are not there."""

    exit_code = 2


def own_answers(options: Options) -> Collected:
    """Raises MissingData where GSM8K was asked for and is not there; Refused where answers are too much alike."""
    asks = plan(options.seed, options.own, options.foreign, _gsm8k() if options.gsm8k else None)
    collected = graded_rows(collect(options.checkpoint, asks, options.rows))
    if not options.samples:
        return collected
    refuse_too_few(collected.answers)
    undecided = in_reach_of_the_band([graded.row for graded in collected.answers])
    return graded_rows(
        collect(
            options.checkpoint,
            asks,
            options.rows,
            samples=options.samples,
            among=lambda row: row.key in undecided,
            temperature=BAND.temperature,
        )
    )


def in_reach_of_the_band(rows: list[Row]) -> set[str]:
    """Keys of the rows that a fit without samples leaves in the cascade's band, or near it: others need none."""
    free = fit([replace(row, samples=()) for row in rows if not in_second_half(row)], rows[0].model)
    told = ((row.key, confidence(free, replace(row, samples=()))) for row in rows)
    low, high = BAND.low / NEAR, 1.0 - (1.0 - BAND.high) / NEAR
    return {key for key, value in told if value is not None and low < value < high}


def graded_rows(rows: list[Row]) -> Collected:
    """Foreign questions are of no domain that the gateway could tell."""
    return Collected(rows[0].model, [Graded(row, row.domain) for row in rows])


def _gsm8k() -> Path:
    path = Path(os.environ.get("COUNTERSIGN_DATA") or "data") / "gsm8k" / "train.jsonl"
    if not path.is_file():
        raise MissingData(f"{path} does not exist; COUNTERSIGN_DATA must name the folder that holds gsm8k/.")
    return path
