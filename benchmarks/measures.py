"""Measures of confidence: does it rank right answers above wrong ones, and does it mean what it says?

Throughout: `confidence` [n] in 0..1, `right` [n] of 0 and 1 (or bool), in the same order.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Values = Sequence[float] | Sequence[bool] | Floats


def auroc(confidence: Values, right: Values) -> float:
    """Chance that a random right answer has more confidence than a random wrong one; ties count half.

    NaN where all answers are right, or all wrong.
    """
    scores, labels = _columns(confidence, right)
    rights = labels.sum()
    wrongs = len(labels) - rights
    if rights == 0 or wrongs == 0:
        return float("nan")
    return float((_ranks(scores)[labels == 1].sum() - rights * (rights + 1) / 2) / (rights * wrongs))


def brier(confidence: Values, right: Values) -> float:
    """Mean squared difference between confidence and outcome; 0 is best."""
    scores, labels = _columns(confidence, right)
    return float(np.mean((scores - labels) ** 2))


def ece(confidence: Values, right: Values, bins: int = 10) -> float:
    """Expected calibration error over bins of equal mass: mean |confidence - accuracy|, weighted by size."""
    groups = _equal_mass(*_columns(confidence, right), bins)
    total = sum(len(labels) for _, labels in groups)
    return float(sum(len(labels) * abs(scores.mean() - labels.mean()) for scores, labels in groups) / total)


def debiased_ece(confidence: Values, right: Values, bins: int = 10) -> float:
    """`ece` less what chance alone would give a perfectly calibrated score, never below 0.

    The chance part is the mean ECE over 200 draws of outcomes from the confidences themselves (seeded).
    """
    return max(0.0, ece(confidence, right, bins) - chance_ece(confidence, bins))


def chance_ece(confidence: Values, bins: int = 10) -> float:
    """The mean `ece` of a perfectly calibrated score with these confidences."""
    scores, _ = _columns(confidence, confidence)
    rng = np.random.default_rng(0)
    return float(np.mean([ece(scores, (rng.random(len(scores)) < scores).astype(float), bins) for _ in range(200)]))


def aurc(confidence: Values, right: Values) -> float:
    """Area under the risk-coverage curve: mean error rate of the most confident k, over all k; lower is better."""
    scores, labels = _columns(confidence, right)
    return _aurc(scores, labels)


def prr(confidence: Values, right: Values) -> float:
    """Prediction rejection ratio: 0 for rejecting at random, 1 for rejecting exactly the wrong ones first.

    (AURC of chance - AURC) / (AURC of chance - AURC of an oracle), where chance errs at the base rate at any coverage.
    """
    scores, labels = _columns(confidence, right)
    chance, oracle = 1.0 - labels.mean(), _aurc(labels, labels)
    return float("nan") if chance == oracle else float((chance - _aurc(scores, labels)) / (chance - oracle))


def released(confidence: Values, right: Values, threshold: float = 0.85) -> dict[str, float]:
    """What a threshold lets out: its share, and the accuracy of the released and of the held; NaN where none."""
    scores, labels = _columns(confidence, right)
    out = scores >= threshold
    return {
        "coverage": float(out.mean()),
        "released_accuracy": _mean(labels[out]),
        "held_accuracy": _mean(labels[~out]),
    }


def _aurc(scores: Floats, labels: Floats) -> float:
    """Ties share their risk: within a group of equal scores the errors are spread evenly."""
    order = np.argsort(-scores, kind="stable")
    _, group = np.unique(-scores[order], return_inverse=True)
    error = 1.0 - labels[order]
    spread = (np.bincount(group, error) / np.bincount(group))[group]
    return float(np.mean(np.cumsum(spread) / np.arange(1, len(spread) + 1)))


def _ranks(scores: Floats) -> Floats:
    """Ranks from 1; equal scores share their mean rank."""
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    shared: Floats = (last - (sizes - 1) / 2)[group]
    return shared


def _equal_mass(scores: Floats, labels: Floats, bins: int) -> list[tuple[Floats, Floats]]:
    order = np.argsort(scores, kind="stable")
    parts = np.array_split(order, bins)
    return [(scores[part], labels[part]) for part in parts if len(part)]


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _columns(confidence: Values, right: Values) -> tuple[Floats, Floats]:
    scores, labels = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if scores.shape != labels.shape or scores.ndim != 1 or not len(scores):
        raise ValueError(f"confidence and right must be equally long lists, not {scores.shape} and {labels.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("confidence: every value must be finite")
    return scores, labels
