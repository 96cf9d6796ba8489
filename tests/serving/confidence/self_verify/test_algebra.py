"""Solutions are kept from equation to equation, and the answer is put back into the question's own."""

import pytest

from serving.confidence.self_verify.answer_step import was_put_back
from serving.confidence.self_verify.verify import steps


def states(question: str, text: str) -> list[str]:
    return [step.state for step in steps(text, question, symbolic=True)]


@pytest.mark.parametrize(
    ("question", "text", "expected"),
    [
        ("2x + 3 = 7", "2x = 4\nx = 2", ["valid", "valid"]),
        ("2x + 3 = 7", "2x = 10\nx = 5", ["invalid", "valid"]),
        ("Solve 3x = 10.", "x = 3.33", ["valid"]),
        # Divided by x - 1, which may be nought.
        ("(x - 1)(x + 2) = 4(x - 1)", "x + 2 = 4\nx = 2", ["invalid", "valid"]),
        ("x^2 = x", "x = 1", ["invalid"]),
        ("x^2 = x", "x(x - 1) = 0\nx = 0 or x = 1", ["valid", "valid", "valid"]),
        # A root is dropped, or the other one follows.
        ("x^2 = 4", "x = 2", ["invalid"]),
        ("x^2 = 4", "x = 2\nx = -2", ["valid", "valid"]),
        # Both sides are squared: one more solution, which the answer must not take.
        ("√(x + 2) = x", "x + 2 = x^2\nx^2 - x - 2 = 0\nx = 2", ["unknown", "valid", "valid"]),
        ("√(x + 2) = x", "x + 2 = x^2\nx = -1", ["unknown", "invalid"]),
        # Multiplied by x - 1: x = 1 is no solution.
        ("(x^2 - 1)/(x - 1) = 2", "x + 1 = 2", ["unknown"]),
        ("x^3 - 2x = 0", "x(x^2 - 2) = 0", ["valid"]),
    ],
)
def test_what_becomes_of_the_solutions(question: str, text: str, expected: list[str]) -> None:
    assert states(question, f"{text}\nThat is all.") == expected


@pytest.mark.parametrize(
    ("question", "text", "state"),
    [
        ("Solve 2x + 3 = 7 for x.", "Answer: 2", "valid"),
        ("Solve 2x + 3 = 7 for x.", "Answer: x = 3", "invalid"),
        ("What is x when 3x = 10?", "Answer: 3.33", "valid"),
        ("What is x when 3x = 10?", "Answer: 3.4", "invalid"),
        ("Solve (x^2 - 1)/(x - 1) = 2.", "Answer: 1", "invalid"),  # divides by zero
        ("Solve √(x + 2) = x.", "x + 2 = x^2\nAnswer: -1", "invalid"),
        ("Solve x^2 = 4.", "Answer: x = 2 or x = -2", "valid"),
        ("Solve x^2 = 4.", "Answer: x = 2 or x = -3", "invalid"),
        ("Expand (x + 2)^2.", "Answer: x^2 + 4x + 4", "valid"),
        ("Expand (x + 2)^2.", "Answer: x^2 + 4", "invalid"),
        ("What is 12 + 7 * 3?", "Answer: 33", "valid"),
        ("12+7×3 = ?", "#### 57", "invalid"),
        ("What is twelve times seven?", "Answer: 84", None),
    ],
)
def test_the_answer_put_back_into_the_question(question: str, text: str, state: str | None) -> None:
    assert was_put_back(steps(text, question, symbolic=True)) == state


def test_an_expression_rewritten_is_checked_at_random_points() -> None:
    assert states("", "(x + 1)(x - 1) = x^2 - 1") == ["valid"]
    assert states("", "√(x^2 + 2x + 1) = √((x + 1)^2)") == ["valid"]
    assert states("", "√(4x) = 2√x") == ["valid"]
    assert states("Simplify (x + 1)(x - 1).", "So (x + 1)(x - 1) = x^2 + 1.\nThat is all.") == ["invalid"]


def test_equations_that_a_text_brings_in_itself_are_not_called_wrong() -> None:
    assert states("A story.", "Let x be the price. x + 2 = 5\nNow let x be the weight. x + 1 = 9") == ["unknown"]


def test_a_letter_with_two_values_stands_for_nothing_any_more() -> None:
    assert states("", "x = 5\n2x + 1 = 2*4 + 1 = 9") == ["invalid"]
    assert "invalid" not in states("", "x = 5\nNow x = 6\n2x + 1 = 2*4 + 1 = 9")


def test_only_sympy_settles_roots() -> None:
    question, text = "√(x + 2) = x", "x + 2 = x^2\nx = 2\nThat is all."
    assert [step.state for step in steps(text, question)] == ["unknown"]
    assert [step.state for step in steps(text, question, symbolic=True)] == ["unknown", "valid"]
