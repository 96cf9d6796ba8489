"""Answers that mean the same compare as equal however they are spelt, and others do not."""

import pytest

from serving.confidence.canonical import agreement_of, canonical


@pytest.mark.parametrize(
    "spellings",
    [
        ("1000", "1,000", "1000.0", "$1000", "$1,000.00", "1000 dollars", "Answer: 1,000", "x = 1000", "#### 1000"),
        ("93", "12 * 7 = 84\n84 + 9 = 93\nAnswer: 93.", "The answer is **93**", "\\boxed{93}", "Answer: 5\nAnswer: 93"),
        ("1/2", "0.5", ".5", "2/4", "Answer: 0.50 litres"),
        ("3/2", "1.5", "1 1/2"),
        ("-3", "−3", "- 3", "$-3", "-$3", "Answer: -3.0"),
        ("50", "50%", "50 %", "50 percent"),
        ("5", "5km", "5 km", "5 apples", "about 5"),
        ("Paris", "paris.", "Answer:  PARIS", '"Paris"'),
        ("(B)", "b", "Answer: B."),
    ],
)
def test_spellings_of_one_answer_are_one(spellings: tuple[str, ...]) -> None:
    assert len({canonical(spelling) for spelling in spellings}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1000", "100"),
        ("3", "-3"),
        ("2x", "2"),
        ("5 or 7", "5"),
        ("not 5", "5"),
        ("1/2", "1/3"),
        ("5 apples and 3 pears", "5"),
        ("12 * 7 = 84", "84"),
        ("", "0"),
        ("Answer:", ""),
    ],
)
def test_different_answers_stay_different(one: str, other: str) -> None:
    assert canonical(one) != canonical(other)


@pytest.mark.parametrize(
    "text", ["9" * 100_000, "1/0", "1 1/0", "answer is " * 20_000, "-" * 200, "1," * 60, "\\boxed{" * 9_999]
)
def test_hostile_text_is_compared_as_it_stands(text: str) -> None:
    assert canonical(text) == canonical(text)
    assert agreement_of(text, (text, "7")) == 0.5


def test_agreement_is_with_the_answer_itself_not_among_the_samples() -> None:
    assert agreement_of("Answer: 5", ("Answer: 6", "Answer: 6", "Answer: 5.0", "6")) == 0.25
    assert agreement_of("Answer: 5", ()) is None
