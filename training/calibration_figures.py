"""The figures of a calibration on answers that did not make it, each with its interval and what it means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks import measures
from benchmarks.bootstrap import Measure, intervals
from serving.confidence.binomial import clopper_pearson

THRESHOLD = 0.85
_DEBIASED = "the same less what chance alone would give a calibrated score"
GROUP_AT_LEAST = 50  # answers before a domain's calibration error says anything


@dataclass(frozen=True, slots=True)
class Scored:
    """One answer with the confidence that a calibration gives it."""

    confidence: float | None  # None: nothing vouches for it, so it is held
    right: bool
    question: str
    group: str  # the domain, as whoever labelled it named it


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value with its 95 % interval, None where there is none; NaN where nothing could be measured."""

    value: float
    low: float | None
    high: float | None
    meaning: str


@dataclass(frozen=True, slots=True)
class Group:
    """One domain's answers."""

    name: str
    answers: int
    accuracy: float
    confidence: float  # mean
    ece: float  # debiased; NaN below GROUP_AT_LEAST answers
    coverage: float  # share at or above THRESHOLD


def figures(judged: Sequence[Scored], by_domain: Sequence[Group]) -> dict[str, Figure]:
    """Of answers with a confidence, and of the same by domain; raises ValueError where there is none.

    Intervals come from 400 draws of questions, of the two shares at the threshold from the exact binomial.
    """
    known = [one for one in judged if one.confidence is not None]
    if not known:
        raise ValueError("no measured answer has a confidence")
    sure, right = [one.confidence or 0.0 for one in known], [one.right for one in known]
    plain: dict[str, tuple[Measure, str]] = {
        "accuracy": (lambda _, labels: float(labels.mean()), "share of right answers"),
        "auroc": (measures.auroc, "chance that a right answer has more confidence than a wrong one"),
        "prr": (measures.prr, "rejecting the least sure first: 0 as good as chance, 1 as an oracle"),
        "aurc": (measures.aurc, "mean error rate of the surest k answers over all k; low is good"),
        "ece": (measures.ece, "mean gap between confidence and accuracy, ten bins of equal mass"),
        "brier": (measures.brier, "mean squared gap between confidence and outcome"),
    }
    spans = intervals({name: measure for name, (measure, _) in plain.items()}, sure, right, [o.question for o in known])
    found = {
        name: _figure(
            measure(np.array(sure), np.array(right, dtype=np.float64)),
            *spans[name],
            meaning,
            lowest=-1.0 if name == "prr" else 0.0,
        )
        for name, (measure, meaning) in plain.items()
    }
    # The basic interval takes off what noise adds, so it belongs to the debiased error. Near nought, where the error
    # cannot fall, that is too little: its lower end also loses what chance alone would give.
    low, high = spans["ece"]
    found["ece"] = replace(found["ece"], low=None, high=None)
    debiased = measures.debiased_ece(sure, right)
    found["debiased_ece"] = _figure(debiased, low - measures.chance_ece(sure), high, _DEBIASED)
    worst = max((group for group in by_domain if group.ece == group.ece), key=lambda g: g.ece, default=None)
    if worst:
        found["worst_domain_ece"] = Figure(worst.ece, None, None, f"debiased, of the worst domain: {worst.name}")
    found |= _released(judged)
    return found


def groups(judged: Sequence[Scored]) -> list[Group]:
    """By domain, the most frequent first; answers of no domain stand under "-"."""
    by_name: dict[str, list[tuple[float, bool]]] = {}
    for one in judged:
        if one.confidence is not None:
            by_name.setdefault(one.group or "-", []).append((one.confidence, one.right))
    return sorted((_group(name, pairs) for name, pairs in by_name.items()), key=lambda group: -group.answers)


def _group(name: str, pairs: list[tuple[float, bool]]) -> Group:
    sure, right = [value for value, _ in pairs], [label for _, label in pairs]
    enough = len(pairs) >= GROUP_AT_LEAST
    return Group(
        name,
        len(pairs),
        sum(right) / len(right),
        sum(sure) / len(sure),
        measures.debiased_ece(sure, right) if enough else float("nan"),
        sum(value >= THRESHOLD for value in sure) / len(sure),
    )


def _released(judged: Sequence[Scored]) -> dict[str, Figure]:
    out = [one.right for one in judged if one.confidence is not None and one.confidence >= THRESHOLD]
    wrong = len(out) - sum(out)
    risk = wrong / len(out) if out else float("nan")
    return {
        "coverage": _figure(
            len(out) / len(judged), *clopper_pearson(len(out), len(judged)), f"share of answers at {THRESHOLD} or above"
        ),
        "released_risk": _figure(risk, *clopper_pearson(wrong, len(out)), "share of wrong ones among those"),
    }


def _figure(value: float, low: float, high: float, meaning: str, lowest: float = 0.0) -> Figure:
    if value != value:
        return Figure(value, None, None, meaning)
    return Figure(value, max(lowest, min(low, value)), min(1.0, max(high, value)), meaning)
