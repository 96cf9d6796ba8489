"""Confidence as a whole: does it rank, does it mean what it says, does its certificate hold, what does it cost?"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import (
    confidence_certificate,
    confidence_cost,
    confidence_docs,
    confidence_drift,
    confidence_own,
    confidence_peers,
    confidence_review,
    confidence_verify,
)
from benchmarks.confidence_data import Missing, require
from benchmarks.confidence_marks import missed
from benchmarks.confidence_outputs import collect, foreign_questions, own_questions
from benchmarks.confidence_own import Judged
from benchmarks.machine import machine
from serving.confidence.calibration import Calibration, calibration_from_json

PARTS = ("own", "certificate", "review", "drift", "verify", "cost")
ON_OUTPUTS = {"own", "verify", "cost"}  # the parts that need our model's answers
REFERENCE = Path(__file__).parent.parent / "serving" / "checkpoints" / "reference"
_SAY = Console(stderr=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when measured, 1 when a part failed, 2 when data or the peers' environment are missing."""
    options = _options(arguments)
    if options.prepare:
        confidence_peers.prepare(_environment(options.home))
    try:
        require(options.data, options.parts)
        if options.peers:
            confidence_peers.require(_environment(options.home))
    except (Missing, confidence_peers.PeersNotReady) as error:
        print(f"confidence: {error}", file=sys.stderr)
        return 2
    figures = measure(options)
    if options.write_docs:
        confidence_docs.write(figures, options.judged, options.write_docs)
    print(json.dumps(figures, indent=None if options.json else 2, allow_nan=False))
    for sentence in figures["missed"]:
        _SAY.print(f"missed: {sentence}", highlight=False)
    return 1 if figures["failed"] else 0


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Every figure; a part that fails is named under "failed" and the others go on."""
    begun, busy = time.monotonic(), machine()
    figures: dict[str, Any] = {"seed": options.seed}
    failed: dict[str, str] = {}
    model, calibration, judged = _judged(options) if ON_OUTPUTS & set(options.parts) else ("", None, [])
    options.judged = judged
    for name, part in _parts(options, model, calibration, judged).items():
        started = time.monotonic()
        try:
            _merge(figures, name, part())
        except Exception as error:  # one part's failure must not cost the others' figures
            failed[name] = f"{type(error).__name__}: {error}"
            _SAY.print_exception()
        _SAY.print(f"{name}: {time.monotonic() - started:.1f} s, load {os.getloadavg()[0]:.1f}", highlight=False)
    return {
        **finite(figures),
        "missed": missed(figures),
        "failed": failed,
        "parts": list(options.parts),
        "load": busy["load"][0],
        "load_after": round(os.getloadavg()[0], 2),
        "machine": busy,
        "seconds": round(time.monotonic() - begun, 1),
    }


def _parts(
    options: argparse.Namespace, model: str, calibration: Calibration | None, judged: list[Judged]
) -> dict[str, Callable[[], dict[str, Any]]]:
    """What was asked for, in the order in which it is measured."""
    parts: dict[str, Callable[[], dict[str, Any]]] = {}
    if "own" in options.parts and calibration:
        parts["own"] = lambda: {
            "model": model,
            "calibration": calibration.id,
            **confidence_own.figures(judged, options.seed),
        }
        if options.peers:
            parts["peers"] = lambda: _peers(options, judged)
    if "certificate" in options.parts:
        parts["certificate"] = lambda: confidence_certificate.measure(options.data, options.seed)
    if "review" in options.parts:
        parts["review"] = lambda: confidence_review.measure(options.data, options.seed)
    if "drift" in options.parts:
        parts["drift"] = lambda: confidence_drift.measure(options.data, options.seed)
    if "verify" in options.parts:
        parts["verify"] = lambda: confidence_verify.measure(options.data, confidence_own.solutions(judged))
    if "cost" in options.parts and calibration:
        parts["cost"] = lambda: confidence_cost.measured(judged, model, calibration, options.seed)
    return parts


def _judged(options: argparse.Namespace) -> tuple[str, Calibration, list[Judged]]:
    questions = own_questions(options.seed, options.questions)
    questions += foreign_questions(options.data / "gsm8k" / "test_even.jsonl")
    model, outputs = collect(options.checkpoint, questions, _folder(options.home), options.seed)
    calibration = calibration_from_json(json.loads((options.checkpoint / "calibration.json").read_text()))
    return model, calibration, confidence_own.judge(outputs, model, calibration)


def _peers(options: argparse.Namespace, judged: list[Judged]) -> dict[str, Any]:
    from benchmarks import confidence_distributions  # loads transformers, which nothing else here needs

    folder = _folder(options.home)
    own = confidence_own.own(judged)
    outputs = [one.output for one in own]
    distributions = confidence_distributions.distributions(options.checkpoint, outputs, folder)
    return confidence_peers.measure(own, _environment(options.home), folder, distributions)


def _merge(figures: dict[str, Any], part: str, found: dict[str, Any]) -> None:
    """A name that another part gave to something else is told with its own part before it."""
    for name, value in found.items():
        if figures.setdefault(name, value) != value:
            figures[f"{part}_{name}"] = value


def finite(value: Any) -> Any:
    """The value with None in place of numbers that JSON cannot tell: not measurable, or never."""
    if isinstance(value, Mapping):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _environment(home: Path) -> Path:
    return Path(os.environ.get("COUNTERSIGN_PEERS") or home / "peers") / "confidence"


def _folder(home: Path) -> Path:
    return home / "confidence"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run bench confidence", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--peers", action="store_true", help="also lm-polygraph and uqlm on the same outputs")
    parser.add_argument("--prepare", action="store_true", help="first make the peers' environment: minutes, 2 GB")
    parser.add_argument("--questions", type=int, default=1_000, help="for each domain, over all difficulties")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--checkpoint", type=Path, default=REFERENCE)
    parser.add_argument("--write-docs", type=Path, metavar="DOCS", help="write tables and plots into this folder")
    parser.add_argument("--json", action="store_true", help="the last line on standard output is one JSON object")
    options = parser.parse_args(arguments)
    if options.questions < 5:
        parser.error("--questions must be at least 5: one for each difficulty")
    if options.peers and "own" not in options.parts:
        parser.error("--peers are measured on the part own")
    options.data = Path(os.environ.get("COUNTERSIGN_DATA") or "data")
    options.home = Path(os.environ.get("COUNTERSIGN_HOME") or ".countersign")
    return options


if __name__ == "__main__":
    sys.exit(main())
