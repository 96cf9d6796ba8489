"""Figures are those of the rows given; intervals hold as often as they say, and know that answers share a question."""

import math

import numpy as np
import pytest

from benchmarks import measures
from benchmarks.bootstrap import intervals
from training.calibration_figures import Scored, figures, groups


def scored(count: int, seed: int = 0, shift: float = 0.0) -> list[Scored]:
    """Right with the chance that the confidence says, less `shift`."""
    rng = np.random.default_rng(seed)
    sure = rng.random(count)
    right = rng.random(count) < sure - shift
    return [Scored(float(c), bool(r), f"q{i}", "ab"[i % 2]) for i, (c, r) in enumerate(zip(sure, right, strict=True))]


def test_figures_are_the_measures_and_lie_within_their_intervals() -> None:
    rows = scored(900)
    found = figures(rows, groups(rows))
    sure, right = [row.confidence or 0.0 for row in rows], [row.right for row in rows]
    for name in ("auroc", "prr", "aurc", "ece", "brier", "debiased_ece"):
        assert found[name].value == getattr(measures, name)(sure, right)
    for figure in found.values():
        assert figure.low is None or figure.high is None or figure.low <= figure.value <= figure.high
    released = [row.right for row in rows if (row.confidence or 0.0) >= 0.85]
    assert found["coverage"].value == len(released) / 900
    assert found["released_risk"].value == pytest.approx(1 - sum(released) / len(released))


def test_a_confidence_that_is_too_high_shows_and_one_that_is_right_does_not() -> None:
    honest, boasting = scored(800), scored(800, shift=0.2)
    assert figures(honest, groups(honest))["debiased_ece"].low == 0.0
    told = figures(boasting, groups(boasting))["debiased_ece"]
    assert told.low is not None
    assert told.low > 0.1


def test_unknown_confidences_count_as_held_and_nothing_released_has_no_risk() -> None:
    rows = [Scored(0.5, index % 2 == 0, f"q{index}", "") for index in range(60)]
    found = figures([*rows, Scored(None, True, "q", "")], groups(rows))
    assert found["coverage"].value == 0.0
    assert math.isnan(found["released_risk"].value)
    assert found["accuracy"].value == 0.5
    with pytest.raises(ValueError, match="no measured answer"):
        figures([Scored(None, True, "q", "")], [])


def test_the_worst_domain_is_named_and_small_ones_are_not_judged() -> None:
    rows = scored(1_000)
    wrong = [Scored(0.9, False, f"w{index}", "worst") for index in range(60)]
    few = [Scored(0.9, False, f"f{index}", "few") for index in range(10)]
    by_domain = groups([*rows, *wrong, *few])
    assert [group.name for group in by_domain] == ["a", "b", "worst", "few"]
    assert math.isnan(by_domain[-1].ece)
    found = figures([*rows, *wrong, *few], by_domain)["worst_domain_ece"]
    assert found.value > 0.7
    assert found.meaning.endswith("worst")


def test_answers_to_one_question_are_drawn_together() -> None:
    rng = np.random.default_rng(1)
    right = np.repeat(rng.random(40) < 0.5, 10).astype(float)
    sure = np.full(400, 0.5)
    told = {"accuracy": lambda _, labels: float(labels.mean())}
    apart = intervals(told, sure, right, [str(index) for index in range(400)])["accuracy"]
    together = intervals(told, sure, right, [str(index // 10) for index in range(400)])["accuracy"]
    assert (together[1] - together[0]) > 2.5 * (apart[1] - apart[0])  # √10 = 3.2


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2)
    told = {"accuracy": lambda _, labels: float(labels.mean())}
    covered = 0
    for _ in range(150):
        right = (rng.random(120) < 0.7).astype(float)
        low, high = intervals(told, right, right, [str(index) for index in range(120)], draws=120)["accuracy"]
        covered += low <= 0.7 <= high
    assert 0.88 <= covered / 150 <= 0.99
