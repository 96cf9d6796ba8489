"""What is said of equations between numbers: a table of texts and verdicts, and what may never be flagged."""

import pytest

from serving.confidence.self_verify.verify import steps


def states(text: str) -> list[str]:
    return [step.state for step in steps(text)]


@pytest.mark.parametrize(
    "text",
    [
        "12 * 7 = 84",
        "3 - -2 * 2 = 7",
        "-3^2 = -9",
        "2^3^2 = 512",
        "(4 + 5)(2) = 18",
        "1/3 + 1/6 = 1/2",
        "2 1/2 + 1/2 = 3",
        "1,200 × 3 = 3,600",
        "5 x 3 = 15",
        "7 minutes per painting * 6 paintings = 42 minutes",
        "60 miles / 10 miles/hour = 6 hours",
        "That is $5 x 3 = $15 for the socks.",
        "20% of 50 = 10",
        "50 + 20% = 60",
        "90 / 30 * 100 = 300%",
        "5 plus 3 = 8",
        "12 divided by 4 = 3",
        "$\\frac{1}{2} \\times 4 = 2$",
        "√16 + 3² = 13",
        "1) 3 + 4 = 7",
        "- 5 + 4 = 9",  # the dash may open a list's item
        "**5 + 3 = 8**",
        "3 * 4 + 5\n= 12 + 5\n= 17",
        "3 + 4 = 7 - so he has three left",
        "7 = 3 + 4 (as before)",
        "5 > 3",
        "0.1 + 0.2 = 0.30000000000000004",
        "48/2 = <<48/2=24>>24 clips",
        "3 dollars * 12 = <<3*12=36>>36 dollars",
    ],
)
def test_a_true_equation_is_valid(text: str) -> None:
    assert states(text) == ["valid"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("12 * 7 = 85", "It comes to 84, not 85."),
        ("60 - 21 = 39 = 40", "It comes to 39, not 40."),
        ("(14 - 6) = (9 + -1) = 7", "It comes to 8, not 7."),
        ("130,000 * .15 = $195,000", "It comes to 19500, not 195000."),
        ("60 - 51 = 8 blue jelly beans", "It comes to 9, not 8."),
        ("3 toys * 5 = 16 toys", "It comes to 15, not 16."),
        ("5 / 0 = 0", "It divides by zero."),
        ("7 < 3 + 1", "7 < 4 is false."),
        ("130*.15 = <<130*.15=19.5>>195", "It comes to 19.5, not 195."),
        ("A = 3 + 4 = 7 and B = 2.\nA - B = 6 - 2 = 4", "It comes to 5, not 4."),  # 7 was replaced by 6
    ],
)
def test_a_false_equation_is_invalid_with_what_it_comes_to(text: str, why: str) -> None:
    (found,) = (step for step in steps(text) if step.state == "invalid")
    assert found.why == why


@pytest.mark.parametrize(
    "text",
    [
        "2 hours = 120 minutes",  # other units
        "20 minutes * 6 = 2 hours",
        "60 + 60 = 2 hours",
        "50 cents + 50 cents = $1",
        "5 + 3 = 8 * 2 = 16",  # a running total
        "the sum of 20 and 30 / 2 = 25",  # told in words
        "17 / 5 = 3 remainder 2",
        "28 / 1/5 = 140",  # by a fifth
        "1/2x = 6 and 1/2x = 7",
        "400 000 + 1 = 400 001",
        "8:30 + 1:00 = 9:30",
        "5! = 120",
        "30% * 50 = 20",
        "on day 1 * 2 = <<10*2=20>>20 pages",  # the annotation is right
        "Tom has 20 marbles = 50",
        "3.33 * 3 = 10",
        "100 / 3 = 33 each",
    ],
)
def test_what_may_be_meant_otherwise_is_unknown(text: str) -> None:
    assert set(states(text)) == {"unknown"}


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("10/3 = 3.33", "valid"),
        ("20/3 = 6.67", "valid"),
        ("20/3 = 6.66", "valid"),  # cut off
        ("10/3 = 3.34", "unknown"),  # rounded up
        ("10/3 = 3", "unknown"),
        ("10/3 = 3.5", "invalid"),
        ("10/4 = 2.6", "invalid"),
        ("22/7 ≈ 3.14", "valid"),
        ("22/7 = about 3", "valid"),
        ("22/7 ≈ 5", "invalid"),
        ("10/3 = 3.33... = 3.3", "valid"),
    ],
)
def test_decimals_may_be_rounded_to_the_nearest_or_cut_off(text: str, state: str) -> None:
    assert states(text) == [state]


@pytest.mark.parametrize("text", ["Total = 5", "x = 5", "She has 16 eggs.", "a => b", "", "The price is $5."])
def test_what_claims_nothing_is_no_step(text: str) -> None:
    assert steps(text) == ()


def test_a_step_covers_its_equations_and_not_the_words_around_them() -> None:
    text = "So he pays 3 * 4 = 12 dollars.\nThen 12 + 5 = <<12+5=17>>17 in all, since 1 + 1 = 3."
    assert [text[step.start : step.end] for step in steps(text)] == [
        "3 * 4 = 12",
        "12 + 5 = <<12+5=17>>17",
        "1 + 1 = 3",
    ]


def test_an_answer_other_than_the_last_result_is_told_but_not_called_false() -> None:
    *_, last = steps("3 + 4 = 7\nAnswer: 8", "How many has she?")
    assert (last.state, last.why) == ("unknown", "The last step gave 7, not 8.")
    assert len(steps("3 + 4 = 7\nAnswer: 7", "How many has she?")) == 1
