"""How a formula is written may change what it says: then what is wrong is never valid, what is right never invalid."""

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


@pytest.mark.parametrize(
    ("question", "text"),
    [
        *(
            ("What is 2 + 3?", text)
            for text in (
                "Answer: not 5",
                "Answer: negative 5",
                "Answer: minus 5",
                "Answer: 5 million",
                "Answer: 5%",
                "Answer: 5 to 9",
                "Answer: 5, 6 or 7",
                "Answer: it is 5 less than 9, that is 4",
                "Answer: >5",
                "Answer: 5\nNo wait. It is 6.",
                "Answer: x = 7, y = 5",
                "Answer: 5!",
                "Answer: - 5",
                "Answer: or 5",
                "I doubt that the answer is 5.",
                "2 + 3",
                "Answer: 3 + 2",
            )
        ),
        ("Solve x^2 = 4.", "Answer: x = 2, 3"),
        ("Solve x^2 = 4.", "Answer: x = 2 or 3"),
        ("Solve x^2 = 4.", "Answer: 2"),
        ("Solve 2x = 4.", "Answer: y = 2"),
        ("Solve 2x = 4.", "Answer: 2x = 4"),
        ("What is 2 - 5?", "Answer: negative 3"),
        ("5 * 5", "The answer is 5 squared, so 25."),
        ("2+2*2", "Answer: 2*2 first, so 6"),
        ("Simplify (x+1)^2", "Answer: (x+1)^2"),
    ],
)
def test_an_answer_is_not_put_back_where_its_words_may_change_it(question: str, text: str) -> None:
    assert was_put_back(steps(text, question)) == "unknown"


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("What is 2 + 3?", "Answer: 5."),
        ("What is 2 + 3?", "So, the final answer is $5$.\n"),
        ("What is 2 + 3?", "\\boxed{5}"),
        ("What is 2 + 3?", "2 + 3 = 5"),
        ("What is 2 - 5?", "**Answer:** -3"),
        ("Solve x^2 = 4.", "Answer: x = 2 or x = -2"),
        ("Solve x^2 = 4.", "Answer: x = 2, x = -2"),
        ("Simplify (x + 1)^2.", "Answer: (x + 1)^2 = x^2 + 2x + 1"),
    ],
)
def test_a_plain_answer_is_put_back(question: str, text: str) -> None:
    assert was_put_back(steps(text, question)) == "valid"


def test_an_x_glued_to_a_number_is_no_cross_before_a_bracket() -> None:
    assert states("2x (x + 1) = 2x^2 + 2x") == {"unknown"}
    assert states("2x (3 + 1) = 8") <= {"unknown"}
    assert states("2 x (3 + 1) = 8") == {"valid"}


@pytest.mark.parametrize("text", ["1/6 ≈ 0.6", "1/3 ≈ 0.8", "0.02 ≈ 0.5", "10/8 ≈ 0.8", "10/3 ≈ 9/3", "1/3 … ≈ 0.8"])
def test_about_is_no_half_where_nothing_is_rounded_to_a_whole_number(text: str) -> None:
    assert "valid" not in states(text)


@pytest.mark.parametrize("text", ["22/7 ≈ 3", "1/6 ≈ 0.17", "10/8 ≈ 1.3", "100/3 ≈ 33", "33 ≈ 100/3"])
def test_about_allows_for_rounding(text: str) -> None:
    assert states(text) == {"valid"}


@pytest.mark.parametrize(
    "text",
    [
        "10/3 = <<1+1=2>>3.34",
        "the sum of 5 + 3 = <<4+4=8>>9",
        "1/30 = 0.0",
        "0.1 * 0.4 = 0.0",
        "$1.25 + $1.74 = $2.9",
        "1.99 * 1 = 1.9",
        "2** (3) = 6",
        "2 **(3) = 6",
        "2** 3 = 8",
    ],
)
def test_what_is_only_near_or_only_annotated_is_unknown(text: str) -> None:
    assert states(text) == {"unknown"}


def test_a_computer_s_last_digits_are_less_than_a_millionth() -> None:
    assert "valid" not in states("1000000000.000000000 + 1 = 1000000000")
    assert states("1000.1 + 2000.2 = 3000.3000000000002") == {"valid"}


@pytest.mark.parametrize("text", ["**5 + 3 = 8** apples", "So **5 + 3 = 8** - as before", "**Sum:** 5 + 3 = 8"])
def test_bold_is_no_power(text: str) -> None:
    assert states(text) == {"valid"}


@pytest.mark.parametrize(
    ("answer", "state"), [("3.33", "valid"), ("2.9", "unknown"), ("0.0", "unknown"), ("1.5", "invalid")]
)
def test_a_solution_is_rounded_to_the_nearest(answer: str, state: str) -> None:
    asked = {"3.33": "3x = 10", "2.9": "2x = 5.98", "0.0": "30x = 1", "1.5": "3x = 10"}[answer]
    assert was_put_back(steps(f"Answer: {answer}", f"Solve {asked}.")) == state


@pytest.mark.parametrize(
    "text",
    [
        r"\binom{6}{2} = 12",
        r"\sqrt[4]{81} = 162",
        r"\log 100 + 1 = 3",
        r"$5 + \log 100 = 7$",
        r"2 + 2 \not= 5",
        "abs(3 - 7) = 4",
        "(abs(3 - 7) = 4)",
        "2 + abs(3 - 7) = 6",
        "6 = 2 + abs(3 - 7)",
        "3 + 3 = 2 abs(-3)",
        "floor(7/2) * 2 = 6",
        "max(1,100) + 1 = 101",
        "0.(3) * 3 = 1",
        "5 choose 2 + 1 = 11",
        "5 choose 2 + 1 = 3",
    ],
)
def test_a_function_is_not_read_as_its_bare_numbers(text: str) -> None:
    assert states(text) == {"unknown"}


@pytest.mark.parametrize(
    "text", [r"\therefore 2 + 3 = 5", r"\textbf{5 + 3 = 8}", r"$\sqrt{16} + \left(1 + 1\right) = 6$"]
)
def test_a_command_that_says_nothing_of_a_formula_is_passed_over(text: str) -> None:
    assert states(text) == {"valid"}


@pytest.mark.parametrize(
    "text",
    [
        "$3 + 50 cents = $3.50",
        "$3 + 50 cents = 53",
        "3 dollars + 50 cents = 53 cents",
        "2 m + 50 cm = 52",
        "5 minutes + 30 seconds = 35",
        "3 dozen + 4 eggs = 40 eggs",
        "5 thousand + 200 = 5200",
        "5 thousand + 200 = 205",
        "Pages 12-15 = 4 pages",
        "0x10 + 1 = 17",
        "0b11 + 1 = 4",
        "9 + 4 = 1 (mod 12)",
        r"9 + 4 = 1 \pmod{12}",
    ],
)
def test_a_way_of_writing_numbers_that_is_not_read_is_unknown(text: str) -> None:
    assert states(text) == {"unknown"}


def test_a_difference_that_goes_up_is_no_range() -> None:
    assert states("She has 15-12 = 4 pages") == {"invalid"}


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("Solve x^2 - 5x + 6 = 0", "(x-2)(x-3) = 0\nx - 2 = 0 or x - 3 = 0\nx = 2 or x = 3"),
        ("Solve x^2 - 5x + 6 = 0", "(x-2)(x-3) = 0\nx = 2 or 3\nThat is all."),
        ("Solve x^2 = 4", "x = ±2\nThat is all."),
        ("Solve 2x + 3 = 7", "Suppose x = 5. That would be too much.\nx = 2"),
        ("Solve 2x + 3 = 7", "If we try x = 3, it is too much.\nx = 2"),
    ],
)
def test_a_case_or_a_guess_loses_no_solution(question: str, text: str) -> None:
    assert "invalid" not in states(text, question)


def test_a_solution_that_is_told_nowhere_is_lost() -> None:
    assert "invalid" in states("(x-2)(x-3) = 0\nx = 2\nThat is all.", "Solve x^2 - 5x + 6 = 0")
