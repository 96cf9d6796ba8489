"""The score is a sum of piecewise-linear shapes; the maps never fall and never leave their ends."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.confidence.score import IsotonicMap, PlattMap, Shape, fuse, interpolate, sigmoid, unvouched

POINTS = ((-2.0, 1.0), (0.0, 2.0), (4.0, 0.0))
number = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("x", "y"), [(-9.0, 1.0), (-2.0, 1.0), (-1.0, 1.5), (0.0, 2.0), (1.0, 1.5), (4.0, 0.0), (99.0, 0.0)]
)
def test_straight_lines_between_points_and_flat_outside(x: float, y: float) -> None:
    assert interpolate(POINTS, x) == pytest.approx(y)


@given(number)
def test_a_shape_never_leaves_its_highest_and_lowest_point(x: float) -> None:
    assert 0.0 <= interpolate(POINTS, x) <= 2.0


@given(number, number)
def test_maps_never_fall(one: float, other: float) -> None:
    low, high = sorted((one, other))
    for fitted in (
        PlattMap(slope=1.3, offset=-0.2, low=0.01, high=0.98),
        IsotonicMap(((-3.0, 0.02), (-1.0, 0.3), (0.5, 0.3), (2.0, 0.97))),
    ):
        assert fitted.probability(low) <= fitted.probability(high)
        assert fitted.probability(low) >= 0.01
        assert fitted.probability(high) <= 0.98


def test_missing_signals_count_as_fitted_or_stop_the_score() -> None:
    shapes = (Shape("logprob_mean", POINTS, None), Shape("answer_logprob_min", POINTS, -1.5))
    assert fuse({"logprob_mean": 0.0, "answer_logprob_min": None}, shapes, 0.25) == pytest.approx(0.75)
    assert unvouched({"logprob_mean": None}, shapes) == ["logprob_mean"]
    with pytest.raises(KeyError):
        fuse({"logprob_mean": None}, shapes, 0.0)


@given(number)
def test_sigmoid_is_a_probability_and_odd_about_a_half(x: float) -> None:
    assert 0.0 <= sigmoid(x) <= 1.0
    assert sigmoid(x) + sigmoid(-x) == pytest.approx(1.0)
    assert math.isfinite(sigmoid(x))
