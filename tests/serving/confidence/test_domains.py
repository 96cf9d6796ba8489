"""A domain is recognised by the words of a question, and none where they are strange or undecided."""

import pytest

from serving.confidence.domains import Recogniser, words_of
from tests.serving.confidence.made import cascading

RECOGNISER = cascading().recogniser or pytest.fail("the made calibration has none")


@pytest.mark.parametrize(
    ("question", "domain"),
    [
        ("What is 12 + 81?", "sums"),
        ("what is 3+4", "sums"),
        ("Mia has 12 apples. How many has Tom?", None),  # too many words that nobody knows
        ("Has 12 apples many", "stories"),
        ("What is?", None),  # known words that do not decide
        ("What is the capital of Peru?", None),
        ("日本の首都は?", None),
        ("", None),
        ("   ", None),
        (None, None),
        ("+" * 300, "sums"),
        ("+" * 100_000, None),
        ("What is 3 plus 4? " * 300 + "How much methotrexate a day?", None),
        ("x" * 100_000, None),
    ],
)
def test_a_question_is_of_the_domain_its_words_tell(question: str | None, domain: str | None) -> None:
    assert RECOGNISER.domain(question) == domain


def test_all_that_was_said_must_be_of_one_domain() -> None:
    asked, other = "What is 12 + 81?", "How much methotrexate a day? Answer this alone."
    assert RECOGNISER.domain_of_all([asked, asked]) == "sums"
    assert RECOGNISER.domain_of_all([asked, other]) is None
    assert RECOGNISER.domain_of_all([None]) is None


def test_numbers_are_one_word_and_case_does_not_count() -> None:
    assert words_of("Add 12 to 3.5, ADD it") == {"add", "#", "to", ".", ",", "it"}


def test_what_is_recognised_as_none_of_the_domains_is_no_domain() -> None:
    foreign = Recogniser(("", "sums"), {"capital": (5.0, -5.0)}, (0.0, 0.0), lead=1.0, strange=0.9)
    assert foreign.domain("capital") is None


def test_a_single_domain_must_lead_over_nothing() -> None:
    alone = Recogniser(("sums",), {"+": (2.0,), "-": (0.1,)}, (0.0,), lead=1.0, strange=0.0)
    assert (alone.domain("+"), alone.domain("-")) == ("sums", None)
