"""The alarm on a real change of model: Qwen3-30B-A3B is certified, then Qwen3-4B answers in its place, unannounced.

The score stays the one fitted to the first model. Released answers are audited with probability π; after the alarm
everything is held, so everything is labelled, until a new certificate can be made: at growing numbers of labels, each
attempt at its part of δ. Either the second model stays, and the score is fitted anew to a third of the labels, the old
score among its signals, and certified on the rest; or the first model is put back, and its score is certified again.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import SplineTransformer, StandardScaler

from benchmarks.mmlu_pro import Floats, NoData, Score, Scored, data_folder, read, split
from serving.confidence.binomial import clopper_pearson
from serving.confidence.certificate import Bound, Labelled, certify, delta_of_attempt
from serving.confidence.eprocess import Watch

BEFORE, AFTER = "Qwen3-30B-A3B", "Qwen3-4B"
ALPHA, DELTA, AUDIT_SHARE = 0.15, 0.05, 0.05
LABELS = 2000  # of the first certificate
RUNS = 500
LONGEST = 2000  # audits that a run without drift is watched for, and that an alarm may take
HISTORIES = (0, 100, 500)  # audits of the first model before the change
ATTEMPTS = (250, 500, 1000, 2000, 4000, 8000, 16000)  # labels at which a new certificate is tried for
MOST_FITTED = 2500  # of the labels; more no longer make the new score better
RECERTIFICATIONS = 50


@dataclass(frozen=True)
class Recertified:
    requests: int  # after the alarm, each of them labelled
    coverage: float
    risk: float


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when measured, 2 when the answers are not there."""
    parser = argparse.ArgumentParser(prog="benchmarks.confidence_drift", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    options = parser.parse_args(arguments)
    try:
        measured = measure(data_folder(), options.seed)
    except NoData as error:
        print(f"confidence_drift: {error}", file=sys.stderr)
        return 2
    print(json.dumps(measured, indent=None if options.json else 2))
    return 0


def measure(data: Path, seed: int, *, runs: int = RUNS) -> dict[str, Any]:
    """Raises NoData, and ValueError where the first model cannot be certified at all."""
    first, second = read(data, BEFORE), read(data, AFTER)
    fit, rest = split(len(first.wrong), seed)
    score = Score(first, fit, seed)
    before, after = score.of(first, rest), score.of(second, rest)
    rng = np.random.default_rng(seed)
    threshold = _bound(_drawn(before, LABELS, rng), DELTA).threshold
    if threshold is None:
        raise ValueError(f"{BEFORE} cannot be certified at {ALPHA}")
    old, new = before.risk(threshold), after.risk(threshold)
    delays = {history: _delays(old, new, history, runs, rng) for history in HISTORIES}
    median = float(np.median(delays[0]))
    false_alarms = sum(_alarm(_audits(old, LONGEST, rng)) is not None for _ in range(runs))
    at_alpha = sum(_alarm(_audits(ALPHA, LONGEST, rng)) is not None for _ in range(runs))
    others = score.of(second, fit)  # other questions, for a new score to be fitted to
    renewed = [_renewed(others, after, rng) for _ in range(RECERTIFICATIONS)]
    restored = [_restored(before, rng) for _ in range(RECERTIFICATIONS)]
    return {
        "threshold": threshold,
        "risk_before": round(old, 4),
        "risk_after": round(new, 4),
        "drift_audits_median": median,
        "drift_audits_limit": round(1.6 * math.log(1.0 / DELTA) / _divergence(new, ALPHA), 1),
        "drift_requests_median": round(median / (AUDIT_SHARE * after.coverage(threshold))),
        "drift_audits_median_after": {str(history): float(np.median(found)) for history, found in delays.items()},
        "false_alarm_rate": false_alarms / runs,
        "false_alarm_rate_at_alpha": at_alpha / runs,
        "false_alarm_rate_at_alpha_lower": round(clopper_pearson(at_alpha, runs)[0], 4),
        **_figures("recertify", renewed),
        **_figures("recertify_restored", restored),
        "alpha": ALPHA,
        "delta": DELTA,
        "audit_share": AUDIT_SHARE,
        "runs": runs,
    }


def _drawn(population: Scored, rows: int, rng: np.random.Generator) -> list[Labelled]:
    drawn = rng.integers(0, len(population.wrong), rows)
    confidence, wrong = population.confidence[drawn].tolist(), population.wrong[drawn].tolist()
    return [Labelled(p, not w) for p, w in zip(confidence, wrong, strict=True)]


def _bound(rows: Sequence[Labelled], delta: float) -> Bound:
    made = certify(rows, calibration_id="benchmark", model="benchmark", alpha=ALPHA, delta=delta, made_at=0.0)
    return made.bounds[""]


def _audits(risk: float, count: int, rng: np.random.Generator) -> Iterator[bool]:
    """Whether each of so many audited releases is wrong: draws with replacement, so only the risk matters."""
    yield from (rng.random(count) < risk).tolist()


def _alarm(audits: Iterator[bool], watch: Watch | None = None) -> int | None:
    """The number of audits until the alarm, or None."""
    watch = watch or Watch()
    for audited, wrong in enumerate(audits, start=1):
        watch = watch.after(wrong, ALPHA)
        if watch.alarmed(DELTA):
            return audited
    return None


def _delays(old: float, new: float, history: int, runs: int, rng: np.random.Generator) -> list[float]:
    """Audits from the change to the alarm, in runs that had no false alarm before; infinite where none came."""
    found: list[float] = []
    while len(found) < runs:
        watch = Watch()
        for wrong in _audits(old, history, rng):
            watch = watch.after(wrong, ALPHA)
        if not watch.alarmed(DELTA):
            found.append(_alarm(_audits(new, LONGEST, rng), watch) or math.inf)
    return found


def _renewed(others: Scored, after: Scored, rng: np.random.Generator) -> Recertified | None:
    """The second model stays: a new score is fitted to answers to other questions than those it is certified on."""
    for attempt, labels in enumerate(ATTEMPTS, start=1):
        fit = rng.integers(0, len(others.wrong), min(labels // 3, MOST_FITTED))
        score = _new_score().fit(_signals(others)[fit], ~others.wrong[fit])
        population = Scored(score.predict_proba(_signals(after))[:, 1], after.wrong, after.features)
        threshold = _bound(_drawn(population, labels - len(fit), rng), delta_of_attempt(DELTA, attempt)).threshold
        if threshold is not None:
            return Recertified(labels, population.coverage(threshold), population.risk(threshold))
    return None


def _restored(before: Scored, rng: np.random.Generator) -> Recertified | None:
    """The first model is put back, and its score stays."""
    rows: list[Labelled] = []
    for attempt, labels in enumerate(ATTEMPTS, start=1):
        rows += _drawn(before, labels - len(rows), rng)
        threshold = _bound(rows, delta_of_attempt(DELTA, attempt)).threshold
        if threshold is not None:
            return Recertified(labels, before.coverage(threshold), before.risk(threshold))
    return None


def _signals(scored: Scored) -> Floats:
    return np.column_stack([np.log(scored.confidence / (1.0 - scored.confidence)), scored.features])


def _new_score() -> Pipeline:
    curves = SplineTransformer(n_knots=5, degree=2, knots="quantile", extrapolation="constant")
    return make_pipeline(SimpleImputer(), StandardScaler(), curves, LogisticRegression(C=0.1, max_iter=1000))


def _figures(name: str, runs: Sequence[Recertified | None]) -> dict[str, float | None]:
    """The median over all runs, in which one that never certified counts as the longest; None where that is it."""
    certified = sorted((each for each in runs if each is not None), key=lambda each: each.requests)
    middle = len(runs) // 2
    return {
        f"{name}_requests": certified[middle].requests if middle < len(certified) else None,
        f"{name}_share": len(certified) / len(runs),
        f"{name}_coverage": round(sum(each.coverage for each in certified) / max(1, len(certified)), 4),
        f"{name}_violation_rate": sum(each.risk > ALPHA for each in certified) / len(runs),
    }


def _divergence(new: float, allowed: float) -> float:
    """Kullback-Leibler divergence of two error rates, in nats."""
    return new * math.log(new / allowed) + (1.0 - new) * math.log((1.0 - new) / (1.0 - allowed))


if __name__ == "__main__":
    sys.exit(main())
