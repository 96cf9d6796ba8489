"""Simulated review of real answers: only what was held or drawn for audit is labelled; does the interval cover?

Each run draws requests from the answers that the score was not fitted on. Held answers are all labelled, released
ones with probability π. The truth is the error rate over the whole population.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.mmlu_pro import Flags, Floats, NoData, Scored, data_folder, scored
from serving.confidence.weighted_risk import Audit, Risk, weighted_risk

MODEL = "Qwen3-30B-A3B"
RUNS = 500
LEVEL = 0.95
RELEASED = 0.5  # share of answers at or above the threshold


@dataclass(frozen=True)
class Setting:
    """How answers of one run came to be labelled, and whose error rate is estimated."""

    name: str
    requests: int
    audit_shares: tuple[float, ...]  # of released answers, in force one after the other for equal parts of the run
    of: float  # the risk of answers whose confidence has at least this rank, 0 to 1


SETTINGS = (
    Setting("released", 4000, (0.05,), RELEASED),
    Setting("released, few audits", 500, (0.05,), RELEASED),
    Setting("released, share of audits changed", 4000, (0.03, 0.1), RELEASED),
    Setting("released, very sure ones", 4000, (0.04,), 0.9),
    Setting("would be released at a looser threshold", 4000, (0.05,), 0.3),
    Setting("all answers", 4000, (0.05,), 0.0),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when measured, 2 when the answers are not there."""
    parser = argparse.ArgumentParser(prog="benchmarks.confidence_review", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    options = parser.parse_args(arguments)
    try:
        measured = measure(data_folder(), options.seed)
    except NoData as error:
        print(f"confidence_review: {error}", file=sys.stderr)
        return 2
    print(json.dumps(measured, indent=None if options.json else 2))
    return 0


def measure(data: Path, seed: int, *, runs: int = RUNS) -> dict[str, Any]:
    """`interval_coverage` is the worst over the settings. Raises NoData."""
    population = scored(data, MODEL, seed)
    found = {setting.name: _of(setting, population, seed, runs) for setting in SETTINGS}
    return {
        "interval_coverage": min(each["coverage"] for each in found.values()),
        "level": LEVEL,
        "runs": runs,
        "settings": found,
    }


def _of(setting: Setting, population: Scored, seed: int, runs: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    threshold = float(np.quantile(population.confidence, 1.0 - RELEASED))
    lowest = float(np.quantile(population.confidence, setting.of))
    truth = population.risk(lowest)
    risks, unweighted = [], []
    for _ in range(runs):
        drawn = rng.integers(0, len(population.wrong), setting.requests)
        confidence, wrong = population.confidence[drawn], population.wrong[drawn]
        share = np.repeat(setting.audit_shares, setting.requests // len(setting.audit_shares))
        probability = np.where(confidence >= threshold, share, 1.0)
        labelled = (rng.random(setting.requests) < probability) & (confidence >= lowest)
        risks.append(estimated(wrong[labelled], 1.0 / probability[labelled]))
        unweighted.append(estimated(wrong[labelled], np.ones(int(labelled.sum()))))
    return {
        "truth": round(truth, 4),
        "coverage": _covered(risks, truth),
        "mean_width": round(float(np.mean([risk.high - risk.low for risk in risks])), 4),
        "mean_estimate": round(float(np.mean([risk.estimate for risk in risks if risk.estimate is not None])), 4),
        "mean_labels": float(np.mean([risk.audited for risk in risks])),
        "coverage_unweighted": _covered(unweighted, truth),
    }


def estimated(wrong: Flags, weights: Floats) -> Risk:
    return weighted_risk([Audit(*each) for each in zip(wrong.tolist(), weights.tolist(), strict=True)], LEVEL)


def _covered(risks: Sequence[Risk], truth: float) -> float:
    return sum(risk.low <= truth <= risk.high for risk in risks) / len(risks)


if __name__ == "__main__":
    sys.exit(main())
