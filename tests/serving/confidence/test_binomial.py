"""Exact tails and intervals, against scipy's."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy.stats import beta, binom

from serving.confidence.binomial import at_most, clopper_pearson


@given(rows=some.integers(1, 20_000), share=some.floats(0.0, 1.0), rate=some.floats(1e-6, 1.0 - 1e-6))
def test_tails_agree_with_scipy(rows: int, share: float, rate: float) -> None:
    errors = min(rows - 1, int(rows * share))
    assert at_most(errors, rows, rate) == pytest.approx(binom.cdf(errors, rows, rate), rel=1e-8, abs=1e-290)


@pytest.mark.parametrize("rows", [19, 400, 12_000])
@pytest.mark.parametrize("deviations", [-6, -1.645, 0, 2])
def test_tails_near_the_levels_that_decide_agree_with_scipy(rows: int, deviations: float) -> None:
    errors = max(0, round(0.15 * rows + deviations * math.sqrt(rows * 0.15 * 0.85)))
    assert at_most(errors, rows, 0.15) == pytest.approx(binom.cdf(errors, rows, 0.15), rel=1e-9)


def test_the_ends_of_a_tail_are_exact() -> None:
    assert at_most(-1, 5, 0.3) == 0.0
    assert at_most(5, 5, 0.3) == 1.0
    assert at_most(0, 0, 0.3) == 1.0
    assert at_most(3, 5, 0.0) == 1.0
    assert at_most(3, 5, 1.0) == 0.0


@pytest.mark.parametrize(("rows", "rate"), [(-1, 0.5), (3, 1.5), (3, float("nan"))])
def test_what_is_no_binomial_is_refused(rows: int, rate: float) -> None:
    with pytest.raises(ValueError, match="binomial"):
        at_most(1, rows, rate)


@given(rows=some.integers(1, 5000), share=some.floats(0.0, 1.0))
def test_interval_agrees_with_scipy(rows: int, share: float) -> None:
    errors = round(rows * share)
    low, high = clopper_pearson(errors, rows)
    assert low == pytest.approx(0.0 if errors == 0 else beta.ppf(0.025, errors, rows - errors + 1), abs=1e-9)
    assert high == pytest.approx(1.0 if errors == rows else beta.ppf(0.975, errors + 1, rows - errors), abs=1e-9)


def test_without_rows_nothing_is_known() -> None:
    assert clopper_pearson(0, 0) == (0.0, 1.0)
