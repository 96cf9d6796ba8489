"""Each measure agrees with its definition, with scikit-learn where it has one, and with cases worked by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, roc_auc_score

from benchmarks.measures import aurc, auroc, brier, debiased_ece, ece, prr, released

coarse = st.integers(0, 10).map(lambda tenth: tenth / 10)  # coarse, so that ties happen
answers = st.lists(st.tuples(coarse, st.booleans()), min_size=2, max_size=60)


@given(answers)
def test_auroc_and_brier_agree_with_scikit_learn(rows: list[tuple[float, bool]]) -> None:
    confidence, right = [c for c, _ in rows], [r for _, r in rows]
    assert brier(confidence, right) == pytest.approx(brier_score_loss(right, confidence, labels=[False, True]))
    if len(set(right)) == 2:
        assert auroc(confidence, right) == pytest.approx(roc_auc_score(right, confidence))
    else:
        assert math.isnan(auroc(confidence, right))


def test_ece_by_hand() -> None:
    confidence = [0.1, 0.2, 0.9, 0.8]
    assert ece(confidence, [0, 0, 1, 0], bins=2) == pytest.approx((0.15 + 0.35) / 2)


def test_a_score_that_draws_its_outcomes_is_calibrated_and_a_boastful_one_is_not() -> None:
    rng = np.random.default_rng(1)
    confidence = rng.random(4_000)
    right = (rng.random(4_000) < confidence).astype(float)
    assert debiased_ece(confidence, right) < 0.01 < ece(confidence, right) < 0.05
    assert debiased_ece(np.sqrt(confidence), right) > 0.1


@given(answers)
def test_ece_and_its_debiased_form_lie_between_nought_and_one(rows: list[tuple[float, bool]]) -> None:
    confidence, right = [c for c, _ in rows], [r for _, r in rows]
    assert 0.0 <= debiased_ece(confidence, right) <= ece(confidence, right) <= 1.0


def test_aurc_by_hand() -> None:
    assert aurc([0.9, 0.8, 0.7], [1, 0, 1]) == pytest.approx((0 + 1 / 2 + 1 / 3) / 3)


def test_prr_is_one_for_an_oracle_nought_for_a_constant_and_negative_for_the_contrary() -> None:
    right = [1, 1, 0, 1, 0, 0]
    assert prr([float(r) for r in right], right) == pytest.approx(1.0)
    assert prr([0.5] * 6, right) == pytest.approx(0.0)
    assert prr([1.0 - r for r in right], right) < 0.0


def test_released_counts_both_sides_of_the_threshold() -> None:
    assert released([0.85, 0.9, 0.84, 0.1], [1, 0, 1, 0]) == {
        "coverage": 0.5,
        "released_accuracy": 0.5,
        "held_accuracy": 0.5,
    }
    assert math.isnan(released([0.1], [1])["released_accuracy"])


@pytest.mark.parametrize(("confidence", "right"), [([], []), ([0.5], [1, 0]), ([math.nan], [1])])
def test_broken_columns_are_refused(confidence: list[float], right: list[int]) -> None:
    with pytest.raises(ValueError):
        ece(confidence, right)
