"""Labelled answers become rows as the gateway would have measured them, or are refused by line and field."""

import copy
from pathlib import Path
from typing import Any

import pytest

from gateway.upstream_client import tokens_of
from serving.answer import PromptTrace
from serving.confidence.assess import measure
from tests.training.made_answers import MODEL, made_answers, made_measured, write_lines, write_table
from training.labelled_answers import Collected, read_answers
from training.labelled_columns import Columns, columns_named
from training.labelled_file import Refused
from training.verified_steps import verified

ANY = Columns({})


def read(tmp_path: Path, answers: list[dict[str, Any]], model: str | None = None) -> Collected:
    return read_answers(write_lines(tmp_path / "answers.jsonl", answers), model, ANY)


def refusal(tmp_path: Path, **changes: Any) -> str:
    """Of a file whose second line is changed; None takes a field away."""
    first, second = made_answers(2)
    changed = {name: value for name, value in {**second, **changes}.items() if value is not None}
    with pytest.raises(Refused) as caught:
        read(tmp_path, [first, changed])
    return str(caught.value)


def with_token(**changes: Any) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = copy.deepcopy(made_answers(2)[1]["logprobs"])
    content[3].update(changes)
    return content


def table_refusal(tmp_path: Path, rows: list[dict[str, Any]], columns: Columns = ANY) -> str:
    with pytest.raises(Refused) as caught:
        read_answers(write_table(tmp_path / "answers.csv", rows), None, columns)
    return str(caught.value)


def test_an_answer_has_the_signals_that_the_gateway_measures(tmp_path: Path) -> None:
    (told,) = made_answers(1)
    row = read(tmp_path, [{**told, "prompt_tokens": 12}]).answers[0].row
    tokens = tokens_of({"content": told["logprobs"]})
    steps = verified(told["messages"][-1]["content"], told["answer"])
    assert row.signals == measure(tokens, PromptTrace(12, None), "stop", told["answer"], steps)
    assert row.model == MODEL
    assert row.right is told["right"]
    assert row.text == told["messages"][1]["content"]


def test_what_was_not_told_is_missing_and_not_nought(tmp_path: Path) -> None:
    (told,) = made_answers(1)
    del told["finish_reason"]
    signals = read(tmp_path, [told]).answers[0].row.signals
    assert signals["finished"] is None
    assert signals["prompt_length"] is None
    assert signals["gate_entropy_mean"] is None


def test_an_answer_of_one_token_is_measured(tmp_path: Path) -> None:
    told = {**made_answers(1)[0], "answer": "B", "logprobs": [{"token": "B", "logprob": -0.25}]}
    signals = read(tmp_path, [told]).answers[0].row.signals
    assert (signals["logprob_sum"], signals["logprob_min"], signals["length"]) == (-0.25, -0.25, 0.0)
    assert signals["margin_min"] is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"logprobs": []}, "logprobs: holds no tokens"),
        ({"logprobs": "many"}, "logprobs: must be the list"),
        ({"logprobs": None}, 'must hold "logprobs"'),
        ({"logprobs": with_token(logprob=float("nan"))}, "logprobs[3].logprob: nan is no finite number"),
        ({"logprobs": with_token(logprob=float("-inf"))}, "logprobs[3].logprob: -inf is no finite number"),
        ({"logprobs": with_token(logprob=0.7)}, "logprobs[3].logprob: 0.7 is above 0"),
        ({"logprobs": with_token(logprob=None)}, "logprobs[3].logprob: must be a number"),
        (
            {"logprobs": with_token(top_logprobs=[{"token": "?", "logprob": float("-inf")}])},
            "[3].top_logprobs[0].logprob",
        ),
        ({"logprobs": with_token(top_logprobs="?")}, "logprobs[3].top_logprobs: must be a list"),
        ({"answer": None}, "answer: must be the text"),
        ({"finish_reason": "tired"}, "finish_reason: must be one of stop"),
        ({"right": None}, "right: must say once"),
        ({"correct": True}, "right: must say once"),
        ({"right": "yes"}, "right: must be true or false"),
        ({"model": None}, "model: names no model"),
        ({"model": "another"}, "model: is another, and line 1 is of some-model-2026"),
        ({"colour": "blue"}, "colour: no such field is known"),
        ({"prompt": "twice"}, "messages: must be a list of {role, content}, and stand instead of prompt"),
        ({"messages": [{"role": "system", "content": "?"}]}, "messages: none of them is the user's"),
        ({"messages": None, "prompt": "half \ud800"}, "prompt: holds half a character"),
        ({"domain": "x" * 201}, "domain: must be a name"),
        ({"prompt_tokens": 1.5}, "prompt_tokens: must be the whole number"),
        ({"samples": ["42"]}, "samples: has 1 texts, and line 1 has 0"),
        ({"samples": "42"}, "samples: must be a list of texts"),
        ({"logprobs": None, "signals": {"mood": 1.0}}, "signals.mood: there is no such signal"),
        ({"logprobs": None, "signals": {"length": float("inf")}}, "signals.length: inf is no finite number"),
        ({"logprobs": None, "signals": {"logprob_mean": 0.5}}, "signals.logprob_mean: 0.5 is above 0"),
        ({"logprobs": None, "signals": {"entropy_mean": -0.5}}, "signals.entropy_mean: -0.5 is below 0"),
        ({"logprobs": None, "signals": {"top_mass": 1.5}}, "signals.top_mass: 1.5 is above 1"),
        ({"logprobs": None, "signals": {"length": None}}, "signals: none was measured"),
        ({"logprobs": None, "signals": {"agreement": 0.5}}, "signals.agreement: comes of comparing samples"),
        ({"signals": {"length": 1.0}}, "one of both"),
    ],
)
def test_a_field_that_cannot_be_used_is_refused_by_line_and_name(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    found = refusal(tmp_path, **changes)
    assert found.startswith("answers.jsonl, line 2")
    assert told in found


def test_one_model_is_chosen_and_the_others_are_left_out_and_said(tmp_path: Path) -> None:
    answers = made_answers(3)
    answers[1]["model"] = "another"
    collected = read(tmp_path, answers, MODEL)
    assert len(collected.answers) == 2
    assert f"1 answers of another model than {MODEL}, left out (first: line 2)." in collected.notes
    with pytest.raises(Refused, match="holds no answers of a third"):
        read(tmp_path, answers, "a third")


def test_repeated_answers_are_said_and_counted_once(tmp_path: Path) -> None:
    answers = made_answers(3)
    collected = read(tmp_path, [*answers, answers[0], answers[0]])
    assert len(collected.answers) == 3
    assert "2 repeated answers, counted once (first: line 4)." in collected.notes
    contradicting = {**answers[0], "right": not answers[0]["right"]}
    with pytest.raises(Refused, match="line 4, right: the same answer stands with the other label on line 1"):
        read(tmp_path, [*answers, contradicting])


def test_a_second_answer_to_a_question_is_fitted_to_but_not_certified_on(tmp_path: Path) -> None:
    first, second = made_answers(2)
    collected = read(tmp_path, [first, {**second, "messages": first["messages"]}])
    assert [graded.certifies for graded in collected.answers] == [True, False]
    assert any("1 further answers to the same questions" in note for note in collected.notes)


def test_tokens_of_another_text_are_left_out_as_the_gateway_holds_them(tmp_path: Path) -> None:
    first, second = made_answers(2)
    collected = read(tmp_path, [first, {**second, "answer": second["answer"] + " "}])
    assert len(collected.answers) == 1
    assert any("1 answers whose tokens do not spell their text" in note for note in collected.notes)


def test_signals_that_no_upstream_tells_are_warned_of(tmp_path: Path) -> None:
    (told,) = made_answers(1)
    collected = read(tmp_path, [{**told, "prompt_logprob_mean": -1.5}])
    assert collected.answers[0].row.signals["prompt_logprob_mean"] == -1.5
    assert any("prompt_logprob_mean" in note and "held" in note for note in collected.notes)


def test_a_table_and_lines_of_the_same_answers_are_the_same(tmp_path: Path) -> None:
    lines = [line for _, line in made_measured(20)]
    lines[3]["signals"].pop("length")
    rows = [
        {**{k: v for k, v in line.items() if k != "signals"}, "logprob_mean": line["signals"]["logprob_mean"]}
        | {"length": line["signals"].get("length", "")}
        for line in lines
    ]
    of_lines = read(tmp_path, lines)
    of_table = read_answers(write_table(tmp_path / "answers.csv", rows), None, ANY)
    assert of_table == of_lines
    assert of_table.answers[3].row.signals["length"] is None


def test_columns_are_named_by_options(tmp_path: Path) -> None:
    rows = [
        {"": 0, "kind": "law", "said": "B", "key": "B", "perplexity": "0.5", "tokens": "8", "mood": "fine"},
        {"": 1, "kind": "law", "said": "", "key": "", "perplexity": "0.25", "tokens": "", "mood": "fine"},
    ]
    columns = columns_named(["logprob_mean=log:perplexity", "length=log:tokens"], "said=key", "kind")
    first, second = read_answers(write_table(tmp_path / "a.csv", rows), "m", columns).answers
    assert (first.row.right, second.row.right) == (True, False)  # no answer is never the right one
    assert first.group == "law"
    assert first.row.signals["logprob_mean"] == pytest.approx(-0.6931, abs=1e-4)
    assert second.row.signals["length"] is None


@pytest.mark.parametrize(
    ("row", "columns", "told"),
    [
        ({"right": "true", "length": "many"}, ANY, "line 2, length: 'many' is no number"),
        ({"right": "true", "length": "nan"}, ANY, "line 2, length: nan is no finite number"),
        ({"right": "perhaps", "length": "1"}, ANY, "line 2, right: 'perhaps' is no label"),
        ({"length": "1"}, ANY, "line 1, right: there is no such column"),
        ({"right": "true", "length": "1", "mood": "fine"}, ANY, "line 1, mood: no such column is known"),
        ({"right": "true", "answer": "5"}, ANY, "line 1: no column holds a signal"),
        ({"right": "true", "n": "0"}, columns_named(["length=log:n"], None, None), "line 2, n: 0 has no logarithm"),
        ({"right": "true", "n": "1"}, columns_named(["length=m"], None, None), "line 1, m: there is no such column"),
        (
            {"right": "true", "n": "1"},
            columns_named(["length=n"], None, "kind"),
            "line 1, kind: there is no such column",
        ),
        ({"right": "true", "length": ""}, ANY, "line 2, signals: none was measured"),
    ],
)
def test_a_column_that_cannot_be_used_is_refused_by_name(
    tmp_path: Path, row: dict[str, Any], columns: Columns, told: str
) -> None:
    assert told in table_refusal(tmp_path, [{"model": "m", **row}], columns)


@pytest.mark.parametrize("told", ["length", "mood=column", "length="])
def test_an_option_that_names_no_signal_is_refused(told: str) -> None:
    with pytest.raises(Refused, match="write NAME=COLUMN"):
        columns_named([told], None, None)


def test_a_file_without_answers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="holds no answers"):
        read(tmp_path, [])
