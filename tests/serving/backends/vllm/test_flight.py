"""What vLLM tells becomes the answer that the native engine would give: text, traces, prompt, usage, reason."""

from __future__ import annotations

import pytest

from serving.backends.vllm.flight import MalformedOutput, VllmFlight, VllmOutput, VllmToken
from serving.engine.generation import GenerationRequest, Message
from serving.engine.plan import Sampling
from serving.engine.prompt import PromptWriter, RoleTokens
from serving.engine.vocabulary import Vocabulary
from tests.serving.backends.vllm.scripted import first_output, token
from training.tokens import EOS, build_tokenizer

VOCABULARY = Vocabulary(build_tokenizer())
WRITER = PromptWriter(VOCABULARY, RoleTokens(VOCABULARY))
AITCH, EYE, EURO = (VOCABULARY.encode(text) for text in ("h", "i", "€"))


def flight(max_tokens: int = 8, stop: tuple[str, ...] = (), top_logprobs: int = 3) -> VllmFlight:
    request = GenerationRequest("one", (Message("user", "2+2?"),), stop=stop, top_logprobs=top_logprobs)
    prompt = WRITER.write(request.messages)
    return VllmFlight(request, prompt, Sampling(), max_tokens, frozenset({EOS}), VOCABULARY)


def output(*tokens: VllmToken, finish_reason: str | None = None) -> VllmOutput:
    return VllmOutput(tokens, finish_reason, None, 0)


def test_the_closing_token_is_counted_and_left_out() -> None:
    found = flight()
    assert not found.take(first_output(found, token(AITCH[0])))
    assert found.take(output(token(EYE[0]), token(EOS), finish_reason="stop"))
    generated = found.result()

    assert (generated.text, generated.finish_reason) == ("hi", "stop")
    assert [trace.text for trace in generated.tokens] == ["h", "i"]
    assert (generated.usage.prompt_tokens, generated.usage.completion_tokens) == (len(found.prompt.ids), 3)
    assert {"queue", "prefill", "decode"} == generated.timings_ms.keys()


def test_the_first_alternative_is_the_entropy_and_the_others_are_the_best_tokens() -> None:
    found = flight(max_tokens=1, top_logprobs=2)
    found.take(first_output(found, token(AITCH[0], entropy=1.25, alternatives=5)))
    (trace,) = found.result().tokens

    assert (trace.logprob, trace.entropy, trace.gate_entropy) == (-0.7, 1.25, None)
    assert trace.top == (("h", -0.7), (VOCABULARY.shown(100), -2.0))


def test_an_entropy_a_rounding_below_zero_is_zero() -> None:
    found = flight(max_tokens=1)
    found.take(first_output(found, token(AITCH[0], entropy=-1e-9)))
    assert found.result().tokens[0].entropy == 0.0


def test_the_last_token_allowed_ends_the_answer() -> None:
    found = flight(max_tokens=2)
    assert found.take(first_output(found, token(AITCH[0]), token(EYE[0]), token(AITCH[0])))
    assert (found.result().text, found.result().finish_reason, found.drawn) == ("hi", "length", 2)


def test_a_stop_string_over_several_tokens_ends_the_answer_and_is_cut() -> None:
    found = flight(stop=("ih",))
    assert not found.take(first_output(found, token(AITCH[0]), token(EYE[0])))
    assert found.take(output(token(AITCH[0])))
    assert (found.result().text, found.result().finish_reason) == ("h", "stop")
    assert [trace.text for trace in found.result().tokens] == ["h"]


def test_a_character_of_several_tokens_belongs_to_the_last_one() -> None:
    found = flight(max_tokens=len(EURO))
    found.take(first_output(found, *map(token, EURO)))
    assert [trace.text for trace in found.result().tokens] == ["", "", "€"]


def test_the_prompts_trace_is_over_its_content_alone() -> None:
    found = flight(max_tokens=1)
    found.take(first_output(found, token(AITCH[0])))
    places = [place for place, content in enumerate(found.prompt.content) if content]
    assert found.result().prompt.mean_logprob == pytest.approx(-sum(places) / len(places))
    assert found.result().prompt.tokens == len(found.prompt.ids)


def test_without_the_prompts_logprobs_its_trace_is_missing_and_not_zero() -> None:
    found = flight(max_tokens=1)
    found.take(output(token(AITCH[0])))
    assert found.result().prompt.mean_logprob is None


def test_too_few_alternatives_are_no_answer() -> None:
    found = flight(top_logprobs=5)
    with pytest.raises(MalformedOutput, match="6 log-probabilities of a token where 7"):
        found.take(first_output(found, token(AITCH[0], alternatives=4)))


def test_another_token_than_its_own_logprob_is_no_answer() -> None:
    found = flight()
    with pytest.raises(MalformedOutput):
        found.take(first_output(found, VllmToken(EYE[0], token(AITCH[0]).ids, token(AITCH[0]).logprobs)))


def test_what_vllm_ended_by_itself_is_no_answer() -> None:
    found = flight()
    with pytest.raises(MalformedOutput, match="abort"):
        found.take(first_output(found, token(AITCH[0]), finish_reason="abort"))
