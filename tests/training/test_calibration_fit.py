"""A fitted calibration ranks, means what it says, and lets no foreign question through."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from benchmarks import measures
from serving.confidence.calibration import Calibration, calibration_from_json, calibration_to_json
from serving.confidence.score import IsotonicMap, PlattMap, Points
from tests.training.made_rows import MODEL, made_rows, sampled_rows
from training.calibration_fit import fit
from training.calibration_logistic import Problem
from training.calibration_maps import DOMAIN_FROM, KAPPA, fit_domain_maps, fit_map
from training.calibration_report import by_group, confidence, report
from training.calibration_stages import judge


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
        confidence(fitted, replace(sure, signals={**sure.signals, "prompt_logprob_mean": -1.3 - step / 10}))
        for step in range(60)
    ]
    assert all(value is not None for value in stranger)
    assert stranger == sorted(stranger, reverse=True)  # type: ignore[type-var]
    assert stranger[-1] < 0.05  # type: ignore[operator]


def test_shapes_reach_from_the_lowest_to_the_highest_value_seen(fitted: Calibration) -> None:
    seen = [row.signals["prompt_logprob_mean"] for row in made_rows(1_500)]
    points: Points = next(s for s in fitted.shapes if s.signal == "prompt_logprob_mean").points
    assert (points[0][0], points[-1][0]) == pytest.approx((min(seen), max(seen)))  # type: ignore[type-var]


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


@pytest.fixture(scope="module")
def cascade() -> Calibration:
    return fit(sampled_rows(2_500), MODEL, fitted_at=1_760_000_000.0)


def test_rows_with_samples_give_a_stage_for_each_and_rank_better_with_them(cascade: Calibration) -> None:
    rows = [row for row in sampled_rows(3_000, seed=7) if not row.foreign]
    right = [row.right for row in rows]
    free = [judge(cascade, row, 0).confidence or 0.0 for row in rows]
    compared = [judge(cascade, row) for row in rows]
    assert cascade.cascade is not None
    assert len(cascade.stages) == cascade.cascade.most == 4
    sure = [each.confidence or 0.0 for each in compared]
    assert measures.auroc(sure, right) > measures.auroc(free, right) + 0.01
    assert measures.debiased_ece(sure, right) <= 0.03
    assert 0.0 < np.mean([each.samples for each in compared]) < 3.0


def test_only_rows_inside_the_band_are_compared(cascade: Calibration) -> None:
    for row in sampled_rows(300, seed=8):
        alone, compared = judge(cascade, row, 0), judge(cascade, row)
        inside = alone.confidence is not None and 0.1 < alone.confidence < 0.93
        assert (compared.samples > 0) is inside
        assert inside or compared == alone


def test_the_more_samples_agree_the_surer(cascade: Calibration) -> None:
    row = next(row for row in sampled_rows(200, seed=9) if 0.3 < (judge(cascade, row, 0).confidence or 0) < 0.7)
    agreeing = [judge(cascade, replace(row, samples=(said,))).confidence for said in ("Answer: 7", "Answer: 5")]
    assert agreeing[0] < agreeing[1]  # type: ignore[operator]


def test_domains_are_recognised_and_foreign_questions_are_of_none(cascade: Calibration) -> None:
    assert cascade.recogniser is not None
    assert cascade.recogniser.domain("What is 7 + 9?") == "sums"
    assert cascade.recogniser.domain("Tom has 3 apples. How many apples?") == "word_problems"
    assert cascade.recogniser.domain("Who wrote the 4th anthem of Peru?") is None
    assert cascade.recogniser.domain("Translate good morning into Welsh") is None
    assert set(cascade.maps) == {"", "sums", "word_problems"}


def test_a_cascade_survives_its_json_and_stays_small(cascade: Calibration) -> None:
    text = json.dumps(calibration_to_json(cascade))
    assert calibration_from_json(json.loads(text)) == cascade
    assert len(text) < 500_000


def test_a_domain_s_map_lies_between_its_own_and_what_all_recognised_ones_have_in_common() -> None:
    scores = np.tile(np.linspace(-4.0, 4.0, 300), 2)
    right = np.concatenate([(np.linspace(-4.0, 4.0, 300) > 1).astype(float), np.ones(300)])
    for_all = fit_map(scores, right)
    own, common = fit_map(scores[:300], right[:300]), fit_map(scores[:499], right[:499])
    maps = fit_domain_maps(scores, right, ["hard"] * 300 + ["easy"] * (DOMAIN_FROM - 1) + [None] * 101, for_all)
    assert set(maps) == {"hard"}
    for x in np.quantile(scores[:300], np.linspace(0.0, 1.0, 33)).tolist():
        expected = (300 * own.probability(x) + KAPPA * common.probability(x)) / (300 + KAPPA)
        assert maps["hard"].probability(x) == pytest.approx(expected, abs=0.02)


def test_the_solver_finds_what_scikit_learn_finds_and_keeps_to_its_floors() -> None:
    rng = np.random.default_rng(3)
    design = rng.normal(size=(800, 5))
    right = (rng.random(800) < 1 / (1 + np.exp(-(design @ [2.0, -1.0, 0.5, 0.0, 1.0] - 0.3)))).astype(float)
    free = Problem(design, np.zeros(800), right, 2.0, np.full(5, -np.inf)).solve()
    peer = LogisticRegression(C=0.5, tol=1e-10, max_iter=1_000).fit(design, right)
    assert free.columns == pytest.approx(peer.coef_[0], abs=1e-4)
    assert free.intercept == pytest.approx(peer.intercept_[0], abs=1e-4)
    bounded = Problem(design, np.zeros(800), right, 2.0, np.zeros(5)).solve()
    assert bounded.columns.min() == 0.0
    assert bounded.columns[1] == 0.0
    others = [0, 2, 3, 4]
    alone = LogisticRegression(C=0.5, tol=1e-10, max_iter=1_000).fit(design[:, others], right)
    assert bounded.columns[0] == pytest.approx(alone.coef_[0, 0], abs=0.05)
