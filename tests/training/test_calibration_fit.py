"""A fitted calibration ranks, means what it says, and lets no foreign question through."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from serving.confidence.calibration import Calibration, calibration_from_json, calibration_to_json
from serving.confidence.score import IsotonicMap, PlattMap, Points
from tests.training.made_rows import MODEL, made_rows
from training.calibration_fit import fit, fit_map
from training.calibration_report import by_group, confidence, report


@pytest.fixture(scope="module")
def fitted() -> Calibration:
    return fit(made_rows(1_500), MODEL, fitted_at=1_760_000_000.0)


def test_a_calibration_holds_on_rows_that_did_not_make_it(fitted: Calibration) -> None:
    figures = report(fitted, made_rows(3_000, seed=1))
    assert figures["auroc"] >= 0.85
    assert figures["ece"] <= 0.05
    assert figures["released_accuracy"] >= 0.9
    assert figures["released_accuracy"] - figures["held_accuracy"] >= 0.3
    assert figures["coverage"] >= 0.2
    assert figures["foreign_released"] <= 0.01


def test_foreign_rows_do_not_pull_the_familiar_ones_down(fitted: Calibration) -> None:
    groups = by_group(fitted, made_rows(3_000, seed=1))
    assert groups["sums"]["confidence"] == pytest.approx(groups["sums"]["accuracy"], abs=0.03)


def test_the_shipped_form_is_valid_and_gives_the_same_confidence(fitted: Calibration) -> None:
    again = calibration_from_json(json.loads(json.dumps(calibration_to_json(fitted))))
    assert again == fitted
    rows = made_rows(50, seed=2)
    assert [confidence(again, row) for row in rows] == [confidence(fitted, row) for row in rows]


def test_the_same_rows_give_the_same_calibration() -> None:
    once, twice = (fit(made_rows(300), MODEL, fitted_at=1.0) for _ in range(2))
    assert once.id == twice.id


def test_few_rows_get_platt_and_many_get_isotonic(fitted: Calibration) -> None:
    assert isinstance(fit(made_rows(300), MODEL).map, PlattMap)
    assert isinstance(fitted.map, IsotonicMap)


def test_a_signal_that_was_never_missing_is_demanded_and_one_that_was_is_weighed(fitted: Calibration) -> None:
    shapes = {shape.signal: shape for shape in fitted.shapes}
    assert shapes["answer_logprob_min"].missing is not None
    assert shapes["prompt_logprob_mean"].missing is None
    row = made_rows(1)[0]
    assert confidence(fitted, replace(row, signals={**row.signals, "prompt_logprob_mean": None})) is None
    assert confidence(fitted, replace(row, signals={**row.signals, "answer_logprob_min": None})) is not None


def test_an_ever_stranger_prompt_never_raises_the_confidence(fitted: Calibration) -> None:
    sure = next(row for row in made_rows(200, seed=3) if (confidence(fitted, row) or 0) > 0.95)
    stranger = [
        confidence(fitted, replace(sure, signals={**sure.signals, "prompt_logprob_mean": -1.2 - step / 10}))
        for step in range(60)
    ]
    assert all(value is not None for value in stranger)
    assert stranger == sorted(stranger, reverse=True)  # type: ignore[type-var]
    assert stranger[-1] < 0.05  # type: ignore[operator]


def test_shapes_reach_from_the_lowest_to_the_highest_value_seen(fitted: Calibration) -> None:
    seen = [row.signals["prompt_logprob_mean"] for row in made_rows(1_500)]
    points: Points = next(s for s in fitted.shapes if s.signal == "prompt_logprob_mean").points
    assert (points[0][0], points[-1][0]) == (min(seen), max(seen))  # type: ignore[type-var]


def test_constant_signals_are_left_out(fitted: Calibration) -> None:
    assert "finished" not in {shape.signal for shape in fitted.shapes}


@pytest.mark.parametrize("count", [60, 5_000])
def test_maps_rise_and_keep_off_nought_and_one(count: int) -> None:
    scores = np.linspace(-9.0, 9.0, count)
    right = (scores > 0).astype(float)
    fitted = fit_map(scores, right)
    values = [fitted.probability(score) for score in np.linspace(-20.0, 20.0, 500).tolist()]
    assert values == sorted(values)
    assert 0.0 < values[0] < 0.1
    assert 0.9 < values[-1] < 1.0


def test_platt_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=400)
    right = (rng.random(400) < 1 / (1 + np.exp(-(1.5 * scores + 0.4)))).astype(float)
    fitted = fit_map(scores, right)
    assert isinstance(fitted, PlattMap)
    peer = LogisticRegression(C=1e3, tol=1e-8).fit(scores[:, None], right)
    assert fitted.slope == pytest.approx(peer.coef_[0, 0], abs=1e-3)
    assert fitted.offset == pytest.approx(peer.intercept_[0], abs=1e-3)


@pytest.mark.parametrize("right", [True, False])
def test_nothing_can_be_fitted_where_all_answers_are_alike(right: bool) -> None:
    rows = [replace(row, right=right, foreign=False) for row in made_rows(50)]
    with pytest.raises(ValueError, match="both right and wrong"):
        fit(rows, MODEL)


def test_a_right_answer_to_a_foreign_question_counts_as_wrong() -> None:
    rows = [replace(row, right=True) for row in made_rows(600)]
    assert fit(rows, MODEL).accuracy == pytest.approx(sum(not row.foreign for row in rows) / len(rows))


def test_measures_are_finite_numbers(fitted: Calibration) -> None:
    assert all(math.isfinite(value) for value in report(fitted, made_rows(200, seed=4)).values())
