"""Fits a calibration for any model: collect graded answers, fit on one half, measure and certify on the other, ask.

Without --file or --from-reviews the reference checkpoint answers fresh questions itself. Nothing is activated unless
somebody at a terminal agrees, or --yes was given.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from pydantic import ValidationError
from rich.console import Console

from gateway.operations import variable_of
from gateway.settings import Settings
from storage.errors import StorageError
from training.calibration_activation import activate, keep, may_activate, product_database
from training.calibration_certificate import promise
from training.calibration_files import Written, write_all
from training.calibration_fitting import Fitted, fit_and_measure
from training.calibration_options import Options, read_options
from training.calibration_own import own_answers
from training.calibration_reviews import read_reviews
from training.calibration_tables import as_json, show
from training.labelled_answers import Collected, read_answers
from training.labelled_file import Refused


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when a calibration was written, and activated if that was asked for; 1 with a sentence when not; 2 for bad
    options or data that are not there."""
    console = Console(stderr=True)
    try:
        return calibrate(read_options(arguments), console)
    except Refused as refusal:
        console.print(f"calibrate: {refusal}", highlight=False, markup=False, soft_wrap=True)
        return refusal.exit_code
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        console.print(f"calibrate: {variable_of(first['loc'])}: {first['msg']}.", markup=False, soft_wrap=True)
    except StorageError as error:
        console.print(f"calibrate: {error}", markup=False, soft_wrap=True)
    return 1


def calibrate(options: Options, console: Console) -> int:
    found = collected(options)
    fitted = fit_and_measure(found, options.alpha, options.delta)
    if found.attempt is not None:
        keep(fitted, Settings(), found.attempt)  # before anybody sees what came of it: what was seen was an attempt
    show(console, fitted)
    written = write_all(fitted, options.folder(fitted.calibration.model), options.plots(fitted.calibration.model))
    for file in written.files:
        console.print(f"written: {file}", highlight=False, markup=False, soft_wrap=True)
    activated = settled(options, console, fitted, written)
    if options.json:
        print(json.dumps({**as_json(fitted), "files": [str(file) for file in written.files], "activated": activated}))
    return 1 if options.activate and not activated else 0


def collected(options: Options) -> Collected:
    """Graded answers from where the options say. Raises Refused."""
    if options.file is not None:
        return read_answers(options.file, options.model, options.columns)
    if options.from_reviews:
        with product_database(Settings()) as database, database.read() as connection:
            return read_reviews(connection, options.model)
    return own_answers(options)


def settled(options: Options, console: Console, fitted: Fitted, written: Written) -> bool:
    """Whether it was activated, which somebody must have agreed to."""
    if may_activate(console, fitted, yes=options.yes):
        activate(fitted, Settings())
        console.print(f"{fitted.calibration.id} acts on the next ask. {promise(fitted.certificate)}", highlight=False)
        return True
    console.print("Not activated. Later, if you want it:", highlight=False)
    for kind, file in (("calibrations", written.calibration), ("certificates", written.certificate)):
        console.print(
            f"  ./run countersign {kind} import {file} --activate", highlight=False, markup=False, soft_wrap=True
        )
    return False


if __name__ == "__main__":
    sys.exit(main())
