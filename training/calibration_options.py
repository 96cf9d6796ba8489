"""What `./run calibrate` can be told."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.certifying import ALPHA, DELTA
from gateway.settings import Settings
from serving.confidence.cascade import MOST_SAMPLES
from training.labelled_columns import Columns, columns_named
from training.labelled_file import Refused

REFERENCE = Path(__file__).parent.parent / "serving" / "checkpoints" / "reference"


@dataclass(frozen=True, slots=True)
class Options:
    """Read and checked."""

    file: Path | None
    from_reviews: bool
    model: str | None
    columns: Columns
    alpha: float
    delta: float
    out: Path | None
    activate: bool
    yes: bool
    json: bool
    checkpoint: Path
    own: int
    foreign: int
    gsm8k: bool
    seed: int
    samples: int
    rows: Path

    def folder(self, model: str) -> Path:
        """For the calibration and its certificate: those of our own checkpoint ship with it."""
        if self.out is not None:
            return self.out
        return self.plots(model) if self.file is not None or self.from_reviews else self.checkpoint

    def plots(self, model: str) -> Path:
        return self.out if self.out is not None else kept() / re.sub(r"[^\w.@-]+", "_", model)


def kept() -> Path:
    """Where calibrate keeps what it writes, in the product's home."""
    return Settings().home / "calibration"


def read_options(arguments: Sequence[str] | None) -> Options:
    """Ends the process with a sentence and code 2 for what cannot be understood."""
    parser = _parser()
    told = parser.parse_args(arguments)
    labelled = told.file is not None or told.from_reviews
    as_csv = told.file is not None and told.file.suffix.lower() == ".csv"
    if told.model and not labelled:
        parser.error("--model goes with --file or --from-reviews; a checkpoint of our own is named by --checkpoint")
    if (told.signal or told.right or told.domain) and not as_csv:
        parser.error("--signal, --right and --domain name columns of a CSV file given by --file")
    try:
        columns = columns_named(told.signal, told.right, told.domain)
    except Refused as refusal:
        parser.error(str(refusal))
    given = {name: value for name, value in vars(told).items() if name not in ("signal", "right", "domain")}
    return Options(**given, columns=columns)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./run calibrate",
        description="Fit a calibration, measure and certify it on other answers, and ask before using it.",
        epilog="docs/calibrating.md says what the file holds and what each figure means.",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--file", type=Path, help="labelled answers of any model, .jsonl or .csv")
    source.add_argument("--from-reviews", action="store_true", help="answers that people have given a final verdict on")
    parser.add_argument("--model", help="whose answers, as Answer.model names it; default: the only model there is")
    parser.add_argument(
        "--signal", action="append", default=[], metavar="NAME=COLUMN", help="NAME=log:COLUMN: its logarithm"
    )
    parser.add_argument(
        "--right", metavar="COLUMN", help="which column says what is right, or A=B: where the two agree"
    )
    parser.add_argument("--domain", metavar="COLUMN", help="which column names the domain")
    parser.add_argument("--alpha", type=_share, default=ALPHA, help=f"errors allowed among released answers ({ALPHA})")
    parser.add_argument("--delta", type=_share, default=DELTA, help=f"chance that this bound does not hold ({DELTA})")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for everything that is written")
    parser.add_argument("--activate", action="store_true", help="fail unless it is activated in the end")
    parser.add_argument("--yes", action="store_true", help="activate without asking")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    own = parser.add_argument_group("for a checkpoint of our own, which answers fresh questions")
    own.add_argument("--checkpoint", type=Path, default=REFERENCE)
    own.add_argument("--own", type=int, default=8_000, help="questions of the model's own domains")
    own.add_argument("--foreign", type=int, default=2_500, help="questions it was never taught, counted as wrong")
    own.add_argument("--gsm8k", action="store_true", help="add foreign questions of GSM8K under COUNTERSIGN_DATA")
    own.add_argument("--seed", type=int, default=1)
    own.add_argument(
        "--samples",
        type=int,
        choices=range(MOST_SAMPLES + 1),
        default=MOST_SAMPLES,
        help="further answers to compare undecided ones with; 0: none, and no cascade",
    )
    own.add_argument(
        "--rows", type=Path, default=kept() / "rows.jsonl", help="kept answers; an interrupted run goes on"
    )
    return parser


def _share(text: str) -> float:
    value = float(text)
    if not 1e-6 <= value <= 1.0 - 1e-6:
        raise argparse.ArgumentTypeError(f"must lie between 0 and 1, not {text}")
    return value
