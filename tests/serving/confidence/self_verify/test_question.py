"""Only a question that holds nothing but a formula and words of asking is worked out."""

import pytest

from serving.confidence.self_verify.question import read_question


@pytest.mark.parametrize(
    "question",
    [
        "What is 12 + 7 * 3?",
        "12+7*3",
        "12 × 7 = ?",
        "Could you work out 5 x 3 for me?",
        "what is 12 plus 7",
        "Subtract 3 from 10.",
        "What is the product of 12 and 7?",
        "How many times does 7 fit into 84?",
        "Solve 2x + 3 = 7 for x.",
        "Which n satisfies 3n + 1 = 10?",
        "(((-9 - 5 - 0) - (4 + 3 + -5)) - ((3 * 4 * 5) * (7 - -7 * 4))) =",
    ],
)
def test_a_plain_question_is_read(question: str) -> None:
    assert read_question(question) is not None


@pytest.mark.parametrize(
    "question",
    [
        "",
        "What is 12 + 7 in binary?",
        "What is 9! divided by 3!?",
        "What is 12 + 7 mod 5?",
        "What is the sum of 3 and 4 squared?",
        "What is 3 + 4, and what is 5 + 6?",
        "Mia has 12 apples and buys 7 more. How many has she?",
        "What is the last digit of 7 * 8?",
        "Solve 2x + y = 7.",
        "Is 3 + 4 < 9?",
        "Find the sum of 3 and 4 apples and 5 pears.",
        "Round 10 / 3 to a whole number.",
        "What is 5?",
        "What is 6 / 2(1 + 2)?",
    ],
)
def test_a_question_that_may_ask_for_something_else_is_not(question: str) -> None:
    assert read_question(question) is None
