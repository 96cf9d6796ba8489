"""Each signal measures what its name says, and is None where it cannot."""

import math
from dataclasses import replace

import pytest

from serving.answer import PromptTrace, Step, TokenTrace
from serving.confidence.assess import measure
from serving.confidence.catalogue import OF_STEPS, SIGNALS
from serving.confidence.evidence import answer_span
from serving.confidence.self_verify.unfinished import BUSY, DIED, TOO_SLOW
from tests.serving.confidence.made import PROMPT, SAMPLES, TEXT, trace

LOGPROBS = [-0.1, -0.2, -3.0, -0.3, -0.1, -0.1, -0.1, -0.1, -0.1, -1.0]


def signals(tokens: list[TokenTrace], prompt: PromptTrace = PROMPT, text: str | None = None) -> dict[str, float | None]:
    written = "".join(token.text for token in tokens) if text is None else text
    return measure(tokens, prompt, "stop", written)


def tokens_of(logprobs: list[float], text: str = "x" * 100) -> list[TokenTrace]:
    return [
        TokenTrace(letter, 1, logprob, (("a", logprob), ("b", logprob - 0.5)))
        for letter, logprob in zip(text, logprobs, strict=False)
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("logprob_sum", -5.1),
        ("logprob_mean", -0.51),
        ("logprob_min", -3.0),
        ("logprob_bottom_tenth", -3.0),
        ("logprob_lowest_window", (-3.0 - 0.3 - 0.1 * 5 - 1.0) / 8),
        ("logprob_tail", (-3.0 - 0.3 - 0.1 * 5 - 1.0) / 8),
        ("margin_min", 0.5),
        ("margin_mean", 0.5),
        ("lag_max", 0.0),
        ("lag_sum", 0.0),
        ("top_mass", math.exp(-3.0) + math.exp(-3.5)),
        ("answer_margin_min", None),
        ("answer_entropy_max", None),
        ("agreement", None),
        ("samples", 0.0),
        ("length", math.log(10)),
        ("prompt_logprob_mean", -1.2),
        ("prompt_logprob_window", -2.0),
        ("prompt_length", math.log(24)),
        ("finished", 1.0),
        ("answer_found", 0.0),
        ("answer_logprob_min", None),
        ("answer_logprob_mean", None),
        ("gate_entropy_mean", None),
    ],
)
def test_a_signal_measures_what_its_name_says(name: str, expected: float | None) -> None:
    assert signals(tokens_of(LOGPROBS))[name] == (None if expected is None else pytest.approx(expected))


def test_a_window_shorter_than_the_answer_finds_its_worst_passage() -> None:
    lowest = signals(tokens_of([-0.1] * 20 + [-2.0] * 8 + [-0.1] * 20))["logprob_lowest_window"]
    assert lowest == pytest.approx(-2.0)


def test_the_answer_span_is_the_number_behind_the_last_mark_and_what_ends_it() -> None:
    tokens = trace("Answer: 5\nno, 7 * 12 = 84\nAnswer: 1,084.\nGood")
    first, end = answer_span(tokens) or (0, 0)
    assert "".join(token.text for token in tokens[first:end]) == "1,084."


def test_the_answer_span_follows_tokens_of_several_characters() -> None:
    tokens = [TokenTrace(text, 1, -0.1) for text in ("9 + 4", " = 13\nAns", "wer: ", "1", "3", "")]
    assert answer_span(tokens) == (3, 6)


def test_the_answer_signals_look_at_the_stated_number_only() -> None:
    tokens = trace()
    at = TEXT.rindex("93")
    tokens[at] = replace(tokens[at], logprob=-1.0)
    tokens[0] = replace(tokens[0], logprob=-2.0)
    measured = signals(tokens)
    assert measured["answer_logprob_min"] == -1.0
    assert measured["answer_logprob_mean"] == pytest.approx((-1.0 - 0.01) / 2)
    assert measured["logprob_min"] == -2.0


@pytest.mark.parametrize("text", ["", "no answer here", "Answer:", "Answer: none", "answer 5", "Answer:\n5"])
def test_no_number_behind_the_mark_is_no_answer(text: str) -> None:
    measured = signals(trace(text or "x"), text=text)
    assert measured["answer_found"] == 0.0
    assert measured["answer_logprob_min"] is None


def test_the_answer_s_own_margin_and_entropy_are_told_apart_from_the_rest() -> None:
    tokens = trace()
    at = TEXT.rindex("93")
    tokens[at] = replace(tokens[at], entropy=0.6, top=(("9", -0.2), ("8", -1.7)))
    tokens[0] = replace(tokens[0], entropy=0.9, top=(("1", -0.2), ("2", -0.3)))
    measured = signals(tokens)
    assert measured["answer_entropy_max"] == 0.6
    assert measured["answer_margin_min"] == pytest.approx(1.5)
    assert measured["margin_min"] == pytest.approx(0.1)


def test_a_token_that_was_not_the_best_lags_behind_it() -> None:
    tokens = tokens_of([-0.1] * 4)
    tokens[1] = replace(tokens[1], logprob=-1.1, top=(("a", -0.5), ("b", -1.1)))
    tokens[3] = replace(tokens[3], logprob=-2.0, top=(("a", -0.2), ("b", -2.0)))
    measured = signals(tokens)
    assert measured["lag_max"] == pytest.approx(1.8)
    assert measured["lag_sum"] == pytest.approx(2.4)


def test_samples_that_say_the_same_otherwise_agree() -> None:
    measured = measure(trace(), PROMPT, "stop", TEXT, samples=SAMPLES)
    assert measured["agreement"] == 0.5
    assert measured["samples"] == 4.0


def test_tokens_with_unequally_many_alternatives_are_measured_by_what_all_have() -> None:
    tokens = [TokenTrace("x", 1, -0.1, tuple((str(n), -0.1 - n) for n in range(count))) for count in (5, 3)]
    assert signals(tokens)["margin_mean"] == pytest.approx(1.0)
    assert signals(tokens)["entropy_mean"] is not None


def test_entropy_comes_from_the_alternatives_where_the_whole_is_unknown() -> None:
    half = (("a", math.log(0.4)), ("b", math.log(0.4)))
    assert signals([TokenTrace("x", 1, -0.9, half)])["entropy_mean"] == pytest.approx(math.log(2))
    assert signals([TokenTrace("x", 1, -0.9, half, 1.5)])["entropy_mean"] == 1.5


def test_one_broken_token_makes_its_column_missing_and_leaves_the_others() -> None:
    tokens = trace()
    tokens[3] = replace(tokens[3], gate_entropy=math.nan, top=(("a", -0.1),))
    measured = signals(tokens)
    assert measured["gate_entropy_mean"] is None
    assert measured["margin_min"] is None
    assert measured["logprob_mean"] == pytest.approx(-0.01)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf, 1e5])
def test_alternatives_with_an_impossible_log_probability_give_no_entropy(broken: float) -> None:
    for top in ((("a", broken), ("b", 1e5)), (("a", -0.1), ("b", broken))):
        assert signals([TokenTrace("x", 1, -0.1, top)])["entropy_mean"] is None


def test_nothing_is_measured_of_no_tokens_but_what_the_prompt_shows() -> None:
    measured = signals([], text="")
    assert {name for name, value in measured.items() if value is not None} == {
        "prompt_logprob_mean",
        "prompt_logprob_window",
        "prompt_length",
        "finished",
        "answer_found",
        "samples",
    }


@pytest.mark.parametrize("why", [TOO_SLOW, BUSY, DIED])
def test_of_a_check_that_came_to_no_end_nothing_is_known(why: str) -> None:
    found = measure(trace(), PROMPT, "stop", TEXT, [Step(0, 5, "valid", ""), Step(5, len(TEXT), "unknown", why)])
    assert {name for name in OF_STEPS if found[name] is not None} == set()
    assert measure(trace(), PROMPT, "stop", TEXT, [Step(0, 5, "valid", "")])["steps_valid"] == 1.0


def test_a_cut_off_answer_shows_in_its_signal() -> None:
    assert measure(trace(), PROMPT, "length", TEXT)["finished"] == 0.0


def test_names_are_given_once() -> None:
    names = [name for name, _ in SIGNALS]
    assert len(set(names)) == len(names)


def test_a_very_long_text_of_digits_is_measured_quickly() -> None:
    assert signals(trace("x"), text="Answer: " + "9" * 1_000_000)["answer_found"] == 1.0
