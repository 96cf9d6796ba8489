"""What the desk says of reviewers' hours and an error budget: a threshold that meets both, or what it would take."""

from __future__ import annotations

from typing import Any

import pytest

from review_ui import capacity_words as words
from review_ui.capacity_chart import curve
from review_ui.capacity_figures import Capacity, Wish, capacity
from tests.review_ui import confidence_samples


def told(wish: Wish) -> Capacity:
    query = {name: str(value) for name, value in wish.query().items() if value is not None}
    return capacity(confidence_samples.capacity(query))


def without_asks(data: dict[str, Any]) -> dict[str, Any]:
    rows = [row | {"reviews_per_day": None} for row in data["curve"]]
    return data | {"reviews_per_day": None, "curve": rows}


def labels(found: Capacity, wish: Wish) -> set[str]:
    rows = [row for layer in curve(found, wish).to_dict()["layer"] for row in layer["data"]["values"]]
    return {row["label"] for row in rows if "label" in row and "threshold" not in row}


def test_a_threshold_that_meets_both_is_advised_with_what_it_costs() -> None:
    wish = Wish(8, 3, 0.02, 200)
    found = told(wish)

    assert words.advice(found, wish) == (
        "Release from a confidence of 84.0 % on: 59 % of the answers are then reviewed, about 119 a day of the 160 "
        "there is time for, and 1.9 % of the released ones are expected to be wrong, within the budget of 2.0 %."
    )
    assert labels(found, wish) == {"error budget 2.0 %", "time for 160"}


def test_where_none_meets_both_the_hours_that_it_would_take_are_told() -> None:
    wish = Wish(8, 3, 0.02, 1000)

    assert words.advice(told(wish), wish) == (
        "No threshold meets both. To keep errors within 2.0 %, about 593 answers a day must be reviewed, and there is "
        "time for 160: that takes 29.6 reviewers’ hours a day instead of 8.0."
    )


def test_a_budget_that_no_threshold_keeps_is_told_with_the_least_there_is() -> None:
    wish = Wish(1000, 3, 0.0, 10)
    assert "However much is reviewed, at least 0.5 % of what is released" in words.advice(told(wish), wish)


def test_without_a_number_of_answers_shares_are_told_and_how_many_the_hours_carry() -> None:
    wish = Wish(8, 3, 0.02)
    found = capacity(without_asks(confidence_samples.capacity(wish.query() | {"asks_per_day": 100})))

    said = words.advice(found, wish)

    assert "59 % of the answers are then reviewed, and 1.9 %" in said
    assert said.endswith("The time there is suffices for 270 answers a day.")
    assert labels(found, wish) == {"error budget 2.0 %"}


@pytest.mark.parametrize("rows", [[], None, [confidence_samples.choice(0.99, 10.0)]])
def test_too_few_labels_are_told_and_not_taken_for_a_threshold(rows: Any) -> None:
    data = {"feasible": False, "why": "4 labelled answers are too few.", "threshold": None, "review_rate": None,
            "released_risk": None, "reviews_per_day": None, "capacity_per_day": 160.0, "curve": rows}  # fmt: skip

    found = capacity(data)

    assert (found.chosen, found.curve) == (None, ())
    assert words.advice(found, Wish(8, 3, 0.02)) == words.TOO_FEW


def test_one_point_alone_can_be_drawn() -> None:
    row = confidence_samples.choice(0.0, 0.0)
    found = capacity({**row, "feasible": False, "why": "", "capacity_per_day": 0.0, "curve": [row]})

    assert labels(found, Wish(0, 3, 0.0, 1)) == {"error budget 0.0 %", "time for 0"}
    assert words.described(found).startswith("From 0 % reviewed with 12.0 % wrong")


def test_another_shape_is_a_fault() -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        capacity({"feasible": True, "curve": [], "capacity_per_day": 1.0, "threshold": "0.9"})
