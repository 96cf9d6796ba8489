"""No text makes self-verification raise, lose itself, or vouch for what it could not work out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.confidence.self_verify import limits
from serving.confidence.self_verify.answer_step import is_of_the_answer
from serving.confidence.self_verify.verify import steps

numbers = ["1", "23", ".5", "1,000", "x", "y", "A", "²", "<<1+1=2>>", "\\frac"]
signs = ["=", "≈", "<", "+", "-", "*", "/", "^", "**", "%", "(", ")", "{", "}", "of", "√"]
words = ["\n", " ", " and ", "hours", "$", "\\boxed", "Answer:", "####", "…", "!", ":", ","]
pieces = st.sampled_from([*numbers, *signs, *words])
texts = st.lists(pieces, max_size=40).map("".join) | st.text(max_size=60)


@given(texts, texts)
def test_any_text_gets_steps_within_it_and_in_order(text: str, question: str) -> None:
    found = steps(text, question)
    assert all(0 <= step.start <= step.end <= len(text) for step in found)
    in_order = found[:-1] if found and is_of_the_answer(found[-1]) else found
    assert [step.start for step in in_order] == sorted(step.start for step in in_order)


@given(texts, texts)
def test_the_same_text_gets_the_same_steps(text: str, question: str) -> None:
    assert steps(text, question) == steps(text, question)


@pytest.mark.parametrize(
    "text",
    [
        "9**9**9 = 1",
        "9^9^9^9^9^9 = 1",
        "2^-999999999 = 0",
        "(" * 3_000 + "1" + ")" * 3_000 + " = 1",
        "[" * 100 + "1" + "]" * 100 + " = 1",
        "-" * 200 + "1 = 1",
        "9" * 5_000 + " = 9",
        "1" + " * 999999999999" * 200 + " = 0",
        "2^256 * 3^256 * 5^256 * 7^256 * 11^256 * 13^256 * 17^256 * 19^256 * 23^256 * 29^256 * 31^256 = 1",
        "1" + "^2" * 140 + " = 1",
        "__import__('os') + 1 = 2",
        "\x00 + 1 = 1",
    ],
)
def test_what_cannot_be_worked_out_within_bounds_is_never_vouched_for(text: str) -> None:
    assert {step.state for step in steps(text)} <= {"unknown"}


@pytest.mark.parametrize(
    "text",
    ["(" * 10_000 + "1" + ")" * 10_000 + " = 1", "1 + 1 = 2 " * 200_000, "x^2 = 1\n" * 50_000, "<<1=1>>" * 10_000],
)
def test_what_lies_beyond_the_bounds_is_told(text: str) -> None:
    found = steps(text)
    assert len(found) <= limits.STEPS + 1
    assert (found[-1].state, found[-1].end) == ("unknown", len(text))


def test_an_answer_with_too_much_work_in_it_is_unknown_from_there_on() -> None:
    line = "+".join(["1"] * 140) + " = 140\n"
    found = [step.state for step in steps(line * 28)]
    assert set(found) == {"valid", "unknown"}
    assert found == sorted(found, reverse=True)
