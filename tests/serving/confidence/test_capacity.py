"""Hours against an error budget: what is advised, and what is said where nothing can be."""

import json
from typing import Any

import pytest

from serving.confidence.capacity import Capacity, capacity, capacity_to_json
from serving.confidence.learn_then_test import Labelled

# 1,000 answers at confidences .000 to .999: those from .9 up are right, of those from .5 up every tenth is wrong,
# of the rest every second
ROWS = [
    Labelled(number / 1000, right=number >= 900 or (number % 10 > 0 if number >= 500 else number % 2 > 0))
    for number in range(1000)
]


def advised(rows: list[Labelled] = ROWS, **asked: Any) -> Capacity:
    return capacity(rows, **{"reviewer_hours": 8.0, "minutes_per_item": 3.0, **asked})


def test_the_loosest_threshold_within_the_budget_is_advised_if_its_reviews_fit() -> None:
    advice = advised(error_budget=0.08, asks_per_day=300)
    assert advice.feasible
    assert advice.threshold == 0.5
    assert advice.review_rate == pytest.approx(0.5)
    assert advice.released_risk == pytest.approx(40 / 500)
    assert advice.reviews_per_day == pytest.approx(150)
    assert advice.capacity_per_day == 160


def test_a_budget_that_takes_more_reviews_than_the_hours_allow_is_not_feasible_and_says_so() -> None:
    advice = advised(error_budget=0.08, asks_per_day=1000)
    assert not advice.feasible
    assert "500 reviews a day" in advice.why
    assert "160" in advice.why
    assert advice.threshold == 0.5


def test_a_budget_that_no_threshold_keeps_is_not_feasible_and_names_the_nearest() -> None:
    wrong = [Labelled(row.confidence, right=number % 3 > 0) for number, row in enumerate(ROWS)]
    advice = advised(wrong, error_budget=0.01)
    assert not advice.feasible
    assert "1.0%" in advice.why
    assert advice.released_risk == pytest.approx(1 / 3, abs=0.02)


def test_a_budget_alone_tells_how_many_asks_the_hours_carry() -> None:
    advice = advised(error_budget=0.08)
    assert advice.feasible
    assert "320 asks a day" in advice.why
    assert advice.reviews_per_day is None


def test_hours_alone_buy_the_least_risk_they_can_pay_for() -> None:
    advice = advised(asks_per_day=200)
    assert advice.feasible
    assert advice.threshold == pytest.approx(0.8, abs=0.011)
    assert advice.reviews_per_day is not None
    assert advice.reviews_per_day <= 160
    assert advised(asks_per_day=200, reviewer_hours=4.0).threshold == pytest.approx(0.4, abs=0.011)


def test_hours_too_few_for_the_audits_alone_are_not_feasible() -> None:
    assert not advised(asks_per_day=10_000, audit_share=0.05).feasible


def test_audits_of_released_answers_are_reviews_too() -> None:
    advice = advised(error_budget=0.08, asks_per_day=300, audit_share=0.1)
    assert advice.review_rate == pytest.approx(0.55)
    assert not advice.feasible


def test_an_audited_answer_stands_for_those_that_were_not() -> None:
    held = [Labelled(0.3, number % 2 > 0) for number in range(100)]
    audits = [Labelled(0.9, number > 0, weight=20.0) for number in range(40)]
    advice = advised([*held, *audits], error_budget=0.05)
    assert advice.review_rate == pytest.approx(100 / 900)
    assert advice.released_risk == pytest.approx(1 / 40)


@pytest.mark.parametrize("rows", [[], ROWS[-10:]])
def test_too_few_labels_predict_nothing(rows: list[Labelled]) -> None:
    advice = advised(rows, error_budget=0.02, asks_per_day=10)
    assert not advice.feasible
    assert "too few" in advice.why
    assert (advice.threshold, advice.review_rate, advice.released_risk) == (None, None, None)


def test_a_threshold_that_few_labels_reach_has_no_predicted_risk() -> None:
    risks = {point.threshold: point.released_risk for point in advised(error_budget=0.02).curve}
    assert risks[0.97] == 0.0
    assert risks[0.98] is None


def test_with_neither_budget_nor_asks_there_is_the_curve_only() -> None:
    advice = advised()
    assert advice.threshold is None
    assert len(advice.curve) == 101


def test_the_json_has_the_shape_of_the_api() -> None:
    body = json.loads(json.dumps(capacity_to_json(advised(error_budget=0.08, asks_per_day=300)), allow_nan=False))
    shared = {"threshold", "review_rate", "released_risk", "reviews_per_day"}
    assert set(body) == {"feasible", "why", "capacity_per_day", "curve", *shared}
    assert set(body["curve"][0]) == shared


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"reviewer_hours": -1.0}, "reviewer_hours"),
        ({"minutes_per_item": 0.0}, "minutes_per_item"),
        ({"error_budget": 1.1}, "error_budget"),
        ({"asks_per_day": float("nan")}, "asks_per_day"),
        ({"audit_share": 2.0}, "audit_share"),
    ],
)
def test_arguments_out_of_range_are_named(asked: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        advised(**asked)
