"""Fits the calibration that ships with a checkpoint: ask, grade, fit on one half, measure on the other, write."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from serving.confidence.calibration import Calibration, calibration_to_json
from training.calibration_asks import plan
from training.calibration_collect import collect
from training.calibration_fit import fit
from training.calibration_report import by_group, report
from training.calibration_rows import Row, in_second_half

REFERENCE = Path(__file__).parent.parent / "serving" / "checkpoints" / "reference"


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when a calibration was written, 1 when it could not be fitted, 2 when data asked for are missing."""
    options = _options(arguments)
    gsm8k = _gsm8k() if options.gsm8k else None
    if gsm8k and not gsm8k.is_file():
        print(
            f"calibrate: {gsm8k} does not exist; COUNTERSIGN_DATA must name the folder that holds gsm8k/.",
            file=sys.stderr,
        )
        return 2
    asks = plan(options.seed, options.own, options.foreign, gsm8k)
    rows = collect(options.checkpoint, asks, options.rows)
    try:
        calibration = fitted(rows)
    except ValueError as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 1
    show(calibration, rows)
    write(calibration, options.out or options.checkpoint / "calibration.json")
    return 0


def fitted(rows: Sequence[Row]) -> Calibration:
    """Fitted to the first half, with the figures of the second."""
    calibration = fit([row for row in rows if not in_second_half(row)], rows[0].model)
    return replace(calibration, metrics=report(calibration, [row for row in rows if in_second_half(row)]))


def write(calibration: Calibration, path: Path) -> None:
    """Replace the file whole, so that nobody reads half a calibration."""
    written = path.with_suffix(".new")
    written.write_text(json.dumps(calibration_to_json(calibration), indent=1) + "\n", encoding="utf-8")
    os.replace(written, path)
    print(f"{calibration.id} for {calibration.model} written to {path}", file=sys.stderr)


def show(calibration: Calibration, rows: Sequence[Row]) -> None:
    """The figures on rows that did not make the calibration."""
    measured = [row for row in rows if in_second_half(row)]
    console = Console(stderr=True)
    for name, value in calibration.metrics.items():
        console.print(f"{name:20} {value:10.4f}", highlight=False)
    table = Table("group", "answers", "accuracy", "confidence", "coverage")
    for name, group in by_group(calibration, measured).items():
        table.add_row(
            name, f"{group['answers']:.0f}", *(f"{group[c]:.3f}" for c in ("accuracy", "confidence", "coverage"))
        )
    console.print(table)


def _gsm8k() -> Path:
    return Path(os.environ.get("COUNTERSIGN_DATA", "data")) / "gsm8k" / "train.jsonl"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run calibrate", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=REFERENCE)
    parser.add_argument("--own", type=int, default=8_000, help="questions of the model's own domains")
    parser.add_argument("--foreign", type=int, default=2_500, help="questions it was never taught, counted as wrong")
    parser.add_argument("--gsm8k", action="store_true", help="add foreign questions of GSM8K under COUNTERSIGN_DATA")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--rows",
        type=Path,
        default=Path(".countersign/calibration/rows.jsonl"),
        help="kept answers; an interrupted run goes on",
    )
    parser.add_argument("--out", type=Path, help="default: calibration.json in the checkpoint")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
