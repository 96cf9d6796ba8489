"""The comparison of backends sees what differs, forgives what may, and a promise that was not kept is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.backends import CONTRACT, main, missed
from benchmarks.backends_compared import differences, generated_from_json, generated_to_json
from serving.answer import PromptTrace, TokenTrace, Usage
from serving.engine.generation import Generated


def token(number: int, logprob: float = -0.5, second: float = -1.5, entropy: float = 0.9) -> TokenTrace:
    return TokenTrace(chr(number), number, logprob, (("a", logprob), ("b", second)), entropy)


def answer(*tokens: TokenTrace, prompt: float = -3.0) -> Generated:
    return Generated("one", "", "length", tokens, PromptTrace(4, prompt, prompt), Usage(4, len(tokens)), 0)


ANSWER = answer(token(65), token(66))


def test_equal_answers_are_within() -> None:
    assert differences([ANSWER], [ANSWER]).within


@pytest.mark.parametrize(
    "other",
    [
        answer(token(65), token(67)),
        answer(token(65, logprob=-0.502), token(66)),
        answer(token(65, second=-1.502), token(66)),
        answer(token(65), token(66, entropy=0.902)),
        answer(token(65), token(66), prompt=-3.002),
        replace(ANSWER, prompt=PromptTrace(4, None, None)),
        answer(),
    ],
    ids=["token", "logprob", "alternative", "entropy", "prompt", "no prompt", "nothing"],
)
def test_each_measure_that_differs_is_seen(other: Generated) -> None:
    assert not differences([ANSWER], [other]).within


def test_after_two_tokens_of_the_same_probability_answers_may_part() -> None:
    tie = token(66, logprob=-0.7, second=-0.7)
    found = differences([answer(token(65), tie, token(67))], [answer(token(65), token(68), token(69))])
    assert found.within
    assert found.tokens == 1


def test_an_answer_passes_to_another_process_unchanged() -> None:
    again = generated_from_json(json.loads(json.dumps(generated_to_json(ANSWER))))
    assert again == ANSWER


def test_a_promise_that_is_not_kept_is_named() -> None:
    kept = {"within": True, "processes_left": 0, **dict.fromkeys(CONTRACT, True)}
    assert missed({"llama_tp1": kept}, left=0) == []
    found = missed({"llama_tp2": {**kept, "cancelled": False, "processes_left": 1}}, left=2)
    assert found == [
        "llama_tp2: cancelled does not hold",
        "llama_tp2: 1 processes left",
        "a killed replica leaves 2 processes",
    ]


def test_without_its_environment_it_says_how_to_make_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--environment", str(tmp_path / "none")]) == 2
    assert "--prepare makes it" in capsys.readouterr().err
