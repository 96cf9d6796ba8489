"""The signals of self-verification count equations and tell what became of the answer."""

import pytest

from serving.answer import Step
from serving.confidence.evidence import Evidence, gather
from serving.confidence.self_verify.verify import steps
from serving.confidence.signals.answer_departs import answer_departs
from serving.confidence.signals.answer_substituted import answer_substituted
from serving.confidence.signals.steps_invalid import steps_invalid
from serving.confidence.signals.steps_unknown import steps_unknown
from serving.confidence.signals.steps_valid import steps_valid
from tests.serving.confidence.made import PROMPT, trace


def evidence(question: str, text: str) -> Evidence:
    return gather(trace(text), PROMPT, "stop", text, steps=steps(text, question))


def test_equations_are_counted_without_the_answers_own_step() -> None:
    seen = evidence("12 * 7 + 9", "12 * 7 = 84\n84 + 9 = 94\n2 hours = 120 minutes\nAnswer: 94")
    assert (steps_valid(seen), steps_invalid(seen), steps_unknown(seen)) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("question", "text", "substituted", "departed"),
    [
        ("12 * 7", "12 * 7 = 84\nAnswer: 84", 1.0, 0.0),
        ("12 * 7", "12 * 7 = 84\nAnswer: 85", 0.0, 0.0),
        ("How many has she?", "12 * 7 = 84\nAnswer: 84", None, 0.0),
        ("How many has she?", "12 * 7 = 84\nAnswer: 85", None, 1.0),
        ("9^9^9^9 + 1", "Answer: 85", None, 0.0),
        ("", "", None, 0.0),
    ],
)
def test_what_became_of_the_answer(question: str, text: str, substituted: float | None, departed: float) -> None:
    seen = evidence(question, text)
    assert (answer_substituted(seen), answer_departs(seen)) == (substituted, departed)


def test_a_check_that_was_stopped_vouches_for_nothing() -> None:
    seen = gather(trace(), PROMPT, "stop", "", steps=(Step(0, 9, "unknown", "The check took too long."),))
    assert (steps_valid(seen), steps_invalid(seen), steps_unknown(seen)) == (0.0, 0.0, 1.0)
    assert answer_substituted(seen) is None
