"""The certificate against known populations: how often it is wrong, and how much it releases, beside Holm and plug-in.

Of each model, rows that the score was not fitted on are the population; calibration sets are drawn from it with
replacement, and the truth of a threshold is the risk over the whole population. α is half the model's error rate,
so that what is tested can fail.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import holm
from benchmarks.mmlu_pro import MODELS, Flags, Floats, NoData, Scored, data_folder, scored
from serving.confidence.binomial import clopper_pearson
from serving.confidence.certificate import Labelled, certify

DELTA = 0.05
SPLITS = 200
LABELS = 1000  # in a calibration set: what one person labels in a week or two

RECERTIFIED = 12_000  # rows whose certification is timed


@dataclass(frozen=True)
class Outcome:
    """What one rule did over the calibration sets of one model."""

    coverage: float  # mean over sets; 0 where nothing was certified
    violations: int
    nothing: float  # share of sets in which nothing was certified


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when measured, 2 when the answers are not there."""
    parser = argparse.ArgumentParser(prog="benchmarks.confidence_certificate", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--labels", type=int, default=LABELS, help="rows of a calibration set")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    options = parser.parse_args(arguments)
    try:
        measured = measure(data_folder(), options.seed, labels=options.labels)
    except NoData as error:
        print(f"confidence_certificate: {error}", file=sys.stderr)
        return 2
    print(json.dumps(measured, indent=None if options.json else 2))
    return 0


def measure(data: Path, seed: int, *, labels: int = LABELS, splits: int = SPLITS) -> dict[str, Any]:
    """Each figure by model. Raises NoData."""
    by_model = {model: _of(scored(data, model, seed), seed, labels, splits) for model in MODELS}
    figures = next(iter(by_model.values()))
    return {
        "delta": DELTA,
        "labels": labels,
        "recertify_s": _seconds_for(RECERTIFIED, seed),
        **{figure: {model: found[figure] for model, found in by_model.items()} for figure in figures},
    }


def _of(population: Scored, seed: int, labels: int, splits: int) -> dict[str, Any]:
    alpha = float(population.wrong.mean()) / 2.0
    sets = np.random.default_rng(seed).integers(0, len(population.wrong), (splits, labels))
    drawn = [(population.confidence[rows], population.wrong[rows]) for rows in sets]
    ours = _outcome(population, alpha, [certified(*each, alpha) for each in drawn])
    plain = _outcome(population, alpha, [plug_in(*each, alpha) for each in drawn])
    own = [holm.exact_threshold(*each, alpha, DELTA) for each in drawn]
    peer = _mapie(population, sets, alpha)
    theirs = _outcome(population, alpha, own if peer is None else peer)
    return {
        "alpha": round(alpha, 4),
        "splits": splits,
        "violation_rate": ours.violations / splits,
        "violation_lower": round(clopper_pearson(ours.violations, splits)[0], 4),
        "coverage": round(ours.coverage, 4),
        "coverage_holm": round(theirs.coverage, 4),
        "coverage_holm_exact": round(_outcome(population, alpha, own).coverage, 4),
        "holm_by": "own" if peer is None else holm.MAPIE,
        "holm_agreement": None if peer is None else float(np.mean([a == b for a, b in zip(own, peer, strict=True)])),
        "nothing_certified": round(ours.nothing, 4),
        "nothing_certified_holm": round(theirs.nothing, 4),
        "plugin_violation_rate": plain.violations / splits,
        "plugin_coverage": round(plain.coverage, 4),
    }


def _seconds_for(count: int, seed: int) -> float:
    """Processor time of one certification of so many rows, their score being at hand."""
    rng = np.random.default_rng(seed)
    confidence = rng.beta(4.0, 1.0, count)
    rows = [
        Labelled(*each) for each in zip(confidence.tolist(), (rng.random(count) < confidence).tolist(), strict=True)
    ]
    begun = time.process_time()
    certify(rows, calibration_id="benchmark", model="benchmark", alpha=0.15, delta=DELTA, made_at=0.0)
    return round(time.process_time() - begun, 4)


def certified(confidence: Floats, wrong: Flags, alpha: float) -> float | None:
    """The threshold of our certificate."""
    rows = labelled(confidence, wrong)
    made = certify(rows, calibration_id="benchmark", model="benchmark", alpha=alpha, delta=DELTA, made_at=0.0)
    return made.bounds[""].threshold


def labelled(confidence: Floats, wrong: Flags) -> list[Labelled]:
    return [Labelled(p, not w) for p, w in zip(confidence.tolist(), wrong.tolist(), strict=True)]


def plug_in(confidence: Floats, wrong: Flags, alpha: float) -> float | None:
    """The loosest threshold whose error rate among the labels is at most α: what one is tempted to do."""
    order = np.argsort(-confidence)
    risk = np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)
    within = np.flatnonzero(risk <= alpha)
    return float(confidence[order[within[-1]]]) if len(within) else None


def _mapie(population: Scored, sets: NDArray[np.intp], alpha: float) -> list[float | None] | None:
    try:
        return holm.mapie_thresholds(population.confidence[sets], population.wrong[sets], alpha, DELTA)
    except holm.NoPeer as error:
        print(f"confidence_certificate: our own Bonferroni-Holm stands in: {error}", file=sys.stderr)
        return None


def _outcome(population: Scored, alpha: float, thresholds: Sequence[float | None]) -> Outcome:
    some = [threshold for threshold in thresholds if threshold is not None]
    return Outcome(
        coverage=sum(population.coverage(threshold) for threshold in some) / len(thresholds),
        violations=sum(population.risk(threshold) > alpha for threshold in some),
        nothing=1.0 - len(some) / len(thresholds),
    )


if __name__ == "__main__":
    sys.exit(main())
