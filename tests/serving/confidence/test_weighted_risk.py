"""The estimate of a risk from labelled answers of unequal weight, and how often its interval covers."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy.stats import binomtest

from serving.confidence.weighted_risk import Audit, Risk, weighted_risk


def test_of_one_weight_it_is_the_exact_interval() -> None:
    risk = weighted_risk([Audit(number < 3, 20.0) for number in range(40)])
    exact = binomtest(3, 40).proportion_ci(0.95, "exact")
    assert risk.estimate == pytest.approx(3 / 40)
    assert (risk.low, risk.high) == pytest.approx((exact.low, exact.high), abs=1e-9)
    assert (risk.audited, risk.level) == (40, 0.95)


def test_held_answers_do_not_stand_for_released_ones() -> None:
    held = [Audit(number < 50) for number in range(100)]
    released = [Audit(number < 1, 20.0) for number in range(20)]
    assert weighted_risk([*held, *released]).estimate == pytest.approx((50 + 20) / (100 + 400))


def test_no_errors_among_few_audits_prove_little() -> None:
    risk = weighted_risk([Audit(False, 20.0)] * 10)
    assert (risk.estimate, risk.low) == (0.0, 0.0)
    assert risk.high == pytest.approx(0.3085, abs=1e-4)


def test_nothing_labelled_is_nothing_known() -> None:
    assert weighted_risk([]) == Risk(None, 0.0, 1.0, 0, 0.95)


@given(
    audits=some.lists(some.builds(Audit, some.booleans(), some.floats(1.0, 1e6)), min_size=1, max_size=60),
    level=some.floats(0.5, 0.999),
)
def test_the_estimate_lies_within_its_interval_within_0_to_1(audits: list[Audit], level: float) -> None:
    risk = weighted_risk(audits, level)
    assert risk.estimate is not None
    assert 0.0 <= risk.low <= risk.estimate + 1e-9
    assert risk.estimate - 1e-9 <= risk.high <= 1.0


@pytest.mark.parametrize("requests", [200, 2000])
def test_the_interval_covers_where_only_held_and_audited_answers_are_labelled(requests: int) -> None:
    draws, runs, covered = random.Random(8), 200, 0
    for _ in range(runs):
        audits = []
        for _ in range(requests):
            released = draws.random() < 0.7
            wrong = draws.random() < (0.05 if released else 0.5)
            if not released or draws.random() < 0.05:
                audits.append(Audit(wrong, 20.0 if released else 1.0))
        risk = weighted_risk(audits)
        covered += risk.low <= 0.7 * 0.05 + 0.3 * 0.5 <= risk.high
    assert binomtest(covered, runs, 0.95, alternative="less").pvalue > 0.01, f"{covered} of {runs}"


@pytest.mark.parametrize("weight", [0.0, 0.99, float("nan"), float("inf")])
def test_a_weight_that_is_no_inverse_probability_is_named(weight: float) -> None:
    with pytest.raises(ValueError, match=r"audits\[1\].weight"):
        weighted_risk([Audit(True), Audit(False, weight)])


@pytest.mark.parametrize("level", [0.0, 1.0, float("nan")])
def test_a_level_out_of_range_is_named(level: float) -> None:
    with pytest.raises(ValueError, match="level"):
        weighted_risk([Audit(True)], level)
