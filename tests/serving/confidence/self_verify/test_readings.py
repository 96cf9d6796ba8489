"""How a formula is written may change what it says: what is wrong is never valid then, and what is right never invalid."""

import pytest

from serving.confidence.self_verify.answer_step import was_put_back
from serving.confidence.self_verify.verify import steps


def states(text: str, question: str = "") -> set[str]:
    return {step.state for step in steps(text, question)}


@pytest.mark.parametrize(
    "text",
    [
        "20% of 50 = 1000",
        "30% of 40 = 1200 students",
        "$80 - 25% = $55",
        "200 - 10% = 190",
        "50 + 20% = 70",
        "10% + 20% = 12%",
        "1/2 = 0.5%",
        "3/8 = 0.375%",
        "3/8 = 37.1%",
        "20% = 20",
    ],
)
def test_a_percent_sign_that_has_to_be_dropped_leaves_it_unknown(text: str) -> None:
    assert states(text) == {"unknown"}


@pytest.mark.parametrize(
    "text",
    ["$80 - 25% = $60", "1/2 = 50%", "3/8 * 100 = 37.5%", "1/3 * 100 = 33.3%", "1/3 = 33.3%", "10% + 20% = 30%"],
)
def test_a_percent_sign_is_a_hundredth_or_a_share_of_what_it_is_added_to(text: str) -> None:
    assert states(text) == {"valid"}


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("Compute 200 - 10%", "Answer: 190"),
        ("What is 15% * 80?", "Answer: 1200"),
        ("What is 50/100?", "Answer: 0.5%"),
    ],
)
def test_an_answer_put_back_keeps_its_percent_sign(question: str, text: str) -> None:
    assert was_put_back(steps(text, question)) == "unknown"
