"""assess: a probability where the calibration vouches for it, and otherwise None with the reason in words."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.answer import Confidence, FinishReason, PromptTrace, TokenTrace
from serving.confidence.assess import assess
from serving.confidence.calibration import Calibration
from serving.confidence.catalogue import SIGNALS
from tests.serving.confidence.made import MODEL, PROMPT, TEXT, calibration, cascading, trace

any_float = st.floats(allow_nan=True, allow_infinity=True)
any_top = st.lists(st.tuples(st.text(max_size=3), any_float), max_size=5).map(tuple)
any_token = st.builds(
    TokenTrace, st.text(max_size=4), st.integers(), any_float, any_top, st.none() | any_float, st.none() | any_float
)
any_prompt = st.builds(PromptTrace, st.integers(), st.none() | any_float, st.none() | any_float)


def assessed(
    tokens: list[TokenTrace], prompt: PromptTrace = PROMPT, fitted: Calibration | None = None, model: str = MODEL
) -> Confidence:
    text = "".join(token.text for token in tokens)
    return assess(tokens, prompt, "stop", text, model, fitted or calibration())


def test_a_sure_answer_to_a_familiar_question_is_confident_and_names_its_calibration() -> None:
    confidence = assessed(trace())
    assert confidence.value is not None
    assert confidence.value >= 0.85
    assert confidence.calibrated
    assert confidence.calibration_id == calibration().id
    assert [signal.name for signal in confidence.signals] == [name for name, _ in SIGNALS]


def test_an_unsure_answer_is_less_confident() -> None:
    sure, unsure = assessed(trace()).value, assessed(trace(logprob=-0.7)).value
    assert sure is not None
    assert unsure is not None
    assert unsure < 0.5 < sure


def test_a_foreign_question_pulls_a_sure_answer_down() -> None:
    foreign = assessed(trace(), replace(PROMPT, mean_logprob=-5.0)).value
    assert foreign is not None
    assert foreign < 0.5


def test_an_answer_without_a_stated_number_uses_what_was_fitted_for_missing() -> None:
    confidence = assessed(trace("I cannot say."))
    assert confidence.value is not None
    assert confidence.value < 0.5


@pytest.mark.parametrize(
    ("tokens", "prompt", "said"),
    [
        ([], PROMPT, "no tokens"),
        (trace(logprob=math.nan), PROMPT, "logprob_mean"),
        (trace(logprob=-math.inf), PROMPT, "logprob_mean"),
        (trace(logprob=0.5), PROMPT, "logprob_mean"),
        (trace(), replace(PROMPT, mean_logprob=None), "prompt_logprob_mean"),
        (trace(), replace(PROMPT, mean_logprob=math.nan), "prompt_logprob_mean"),
    ],
)
def test_what_cannot_be_measured_is_unknown_and_says_why(
    tokens: list[TokenTrace], prompt: PromptTrace, said: str
) -> None:
    confidence = assessed(tokens, prompt)
    assert confidence.value is None
    assert not confidence.calibrated
    assert confidence.calibration_id is None
    assert said in (confidence.note or "")


def test_a_calibration_for_another_model_vouches_for_nothing() -> None:
    confidence = assessed(trace(), model="countersign-reference@ffffffffffff")
    assert confidence.value is None
    assert MODEL in (confidence.note or "")


def test_without_a_calibration_the_signals_are_still_shown() -> None:
    confidence = assess(trace(), PROMPT, "stop", TEXT, MODEL, None, ())
    assert confidence.value is None
    assert "No calibration" in (confidence.note or "")
    assert {signal.name for signal in confidence.signals if signal.value is None} == {"agreement", "answer_substituted"}


ASKED = "What is 12 + 81?"


def sampled(samples: tuple[str, ...], asked: str | None = ASKED, logprob: float = -0.05) -> Confidence:
    return assess(trace(logprob=logprob), PROMPT, "stop", TEXT, MODEL, cascading(), asked=asked, samples=samples)


def test_a_recognised_domain_is_judged_by_its_own_map() -> None:
    recognised, unheard = sampled(()), sampled((), asked=None)
    assert (recognised.domain, unheard.domain) == ("sums", None)
    assert recognised.value is not None
    assert unheard.value is not None
    assert unheard.value < recognised.value


def test_a_domain_without_a_map_is_judged_by_the_one_for_all() -> None:
    story = sampled((), asked="What has # apples many")
    assert story.domain == "stories"
    assert story.value == assess(trace(logprob=-0.05), PROMPT, "stop", TEXT, MODEL, calibration()).value


def test_samples_that_agree_raise_the_confidence_and_others_lower_it() -> None:
    alone, agreeing, other = sampled(()), sampled(("Answer: 93",)), sampled(("Answer: 5",))
    assert other.value < alone.value < agreeing.value  # type: ignore[operator]
    assert (alone.samples, agreeing.samples) == (0, 1)


def test_more_samples_than_stages_are_vouched_for_by_nothing() -> None:
    confidence = sampled(("Answer: 93",) * 3)
    assert confidence.value is None
    assert "3 samples" in (confidence.note or "")


@settings(deadline=None, max_examples=200)
@given(st.lists(any_token, max_size=20), any_prompt, st.sampled_from(["stop", "length", "error"]), st.text(max_size=40))
def test_no_trace_however_hostile_gets_more_than_a_probability(
    tokens: list[TokenTrace], prompt: PromptTrace, finish_reason: FinishReason, text: str
) -> None:
    confidence = assess(tokens, prompt, finish_reason, text, MODEL, calibration())
    assert confidence.value is None or 0.01 <= confidence.value <= 0.97
    assert all(signal.value is None or math.isfinite(signal.value) for signal in confidence.signals)


@settings(deadline=None, max_examples=100)
@given(st.lists(any_token, min_size=1, max_size=10), st.sampled_from([math.nan, math.inf, -math.inf, 7.0]))
def test_one_impossible_log_probability_is_enough_to_know_nothing(tokens: list[TokenTrace], broken: float) -> None:
    tokens = [*tokens, replace(tokens[0], logprob=broken)]
    assert assessed(tokens).value is None


@given(st.floats(-50.0, 0.0), st.floats(-50.0, 0.0))
def test_confidence_never_falls_as_the_tokens_grow_surer(one: float, other: float) -> None:
    low, high = sorted((one, other))
    lower, higher = assessed(trace(logprob=low)).value, assessed(trace(logprob=high)).value
    assert lower is not None
    assert higher is not None
    assert lower <= higher
