"""The figures of self-verification come out right on cases worked by hand, and its second opinion is its own."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import verify_sets
from benchmarks.confidence_verify import big_bench, gsm8k, main, own
from benchmarks.verify_exact import is_true
from benchmarks.verify_sets import MissingData, Solution, Trace
from serving.confidence.self_verify.verify import steps

whole = st.integers(-40, 40).map(lambda number: f"({number})" if number < 0 else str(number))
formulas = st.recursive(
    whole,
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
    max_leaves=6,
)


@given(formulas, formulas)
def test_both_opinions_on_plain_arithmetic_are_the_same(left: str, right: str) -> None:
    equation = f"0 + {left} = {right}"
    opinion = is_true(equation)
    (found,) = steps(equation)
    if opinion is not None:
        assert (found.state == "valid") == opinion
        assert found.state != "invalid" or not opinion


@pytest.mark.parametrize(
    ("equation", "opinion"),
    [
        ("A = (2 + 3) = 5", True),
        ("A = (2 + 3) = 6", False),
        ("(2 + 3 = 5", True),
        ("A - B = 5", None),
        ("5 / 0 = 1", None),
        ("__import__('os') = 1", None),
        ("2 ** 3 = 8", None),
    ],
)
def test_the_second_opinion(equation: str, opinion: bool | None) -> None:
    assert is_true(equation) is opinion


def test_traces_with_a_marked_line_are_counted_by_their_first_flagged_line() -> None:
    traces = [
        Trace("1 + 1 + 1 =", "1 + 1 = 2\n2 + 1 = 4", False, "", mistake=1),
        Trace("1 + 1 + 1 =", "1 + 1 = 3\n3 + 1 = 5", False, "", mistake=1),
        Trace("1 + 1 + 1 =", "1 + 1 = 2\n2 + 2 = 4", False, "", mistake=1),  # true, and not what was asked
        Trace("1 + 1 + 1 =", "1 + 1 = 2\n2 + 1 = 3", True, ""),
        Trace("1 + 1 + 1 =", "1 + 1 = 2\n2 + 1 = 5", False, ""),  # nobody marked it
    ]
    figures = big_bench(traces * 6)
    assert figures["solutions"] == {"wrong": 18, "right": 12}
    assert (figures["recall"], figures["first_step"]) == (0.6667, 0.3333)
    assert (figures["false_alarm"], figures["labelled_right_but_false"]) == (0.0, 6)


def test_solutions_are_counted_by_their_outcome() -> None:
    right = Solution("How many?", "1 + 1 = 2\nA: 2", True, "one")
    unlucky = Solution("How many?", "1 + 1 = 3\nA: 2", True, "one")
    wrong = Solution("How many?", "1 + 2 = 4\nA: 4", False, "two")
    unseen = Solution("How many?", "Four.\nA: 4", False, "two")
    models = [right, unlucky, wrong, unseen]
    figures = gsm8k([right], models)
    assert (figures["recall"], figures["false_alarm"], figures["false_alarm_gold"]) == (0.5, 0.5, 0.0)
    shares = {state: group["share"] for state, group in figures["right_share"].items()}
    assert shares == {"flagged": 0.5, "verified": 1.0, "uncovered": 0.0}


def test_the_first_wrong_step_of_a_sum_is_the_first_that_its_own_solution_does_not_have() -> None:
    seen = Solution("What is 1 + 2 + 3?", "1 + 2 = 3\n3 + 3 = 7\nAnswer: 7", False, "sums", {"length": 9.0})
    miscopied = Solution("What is 1+2+3?", "1 + 4 = 5\n5 + 3 = 9\nAnswer: 9", False, "sums", {"length": 9.0})
    right = Solution("1 + 2", "1 + 2 = 3\nAnswer: 3", True, "sums", {"length": None})
    figures = own([seen, miscopied, right])
    assert (figures["first_step"], figures["recall"], figures["put_back_recall"]) == (0.5, 1.0, 1.0)
    assert figures["by_domain"]["sums"]["false_alarm"] == 0.0


def test_signals_that_tell_right_from_wrong_gain_over_those_that_do_not() -> None:
    pairs = [
        (Solution(f"{n} + 1", f"{n} + 1 = {n + 1}\nAnswer: {n + 1}", True, "sums", {"length": float(n % 7)}),
         Solution(f"{n} + 1", f"{n} + 1 = {n + 2}\nAnswer: {n + 2}", False, "sums", {"length": float(n % 7)}))
        for n in range(40)
    ]  # fmt: skip
    figures = own([solution for pair in pairs for solution in pair])
    assert figures["auroc_with"] == 1.0
    assert figures["auroc_free"] < 0.7
    assert figures["auroc_gain"] == pytest.approx(figures["auroc_with"] - figures["auroc_free"])


def test_missing_data_are_named_with_where_to_have_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COUNTERSIGN_DATA", str(tmp_path))
    assert main(["--json"]) == 2
    told = capsys.readouterr().err
    assert all(str(file) in told for file in verify_sets.SOURCES)
    assert "github.com/openai/grade-school-math" in told
    assert main(["--own", str(tmp_path / "none.jsonl")]) == 2
    assert "none.jsonl" in capsys.readouterr().err


def test_files_are_read_as_they_are_published(tmp_path: Path) -> None:
    trace_row = {"input": "1 + 1 =", "steps": ["1 + 1 = 2", "So."], "target": "2", "answer": "2", "mistake_index": None}
    rows = {
        verify_sets.BIG_BENCH: trace_row,
        verify_sets.GSM8K_GOLD: {"question": "How many?", "answer": "#### 2"},
        verify_sets.GSM8K_MODELS: {"question": "How many?"}
        | {writer: {"is_correct": True, "solution": "A: 2"} for writer in verify_sets.GSM8K_WRITERS},
    }  # fmt: skip
    for file, row in rows.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(json.dumps(row) + "\n", encoding="utf-8")
    verify_sets.require(tmp_path)
    (trace,) = verify_sets.big_bench(tmp_path)
    assert (trace.text, trace.right, trace.mistake, trace.line_of(12)) == ("1 + 1 = 2\nSo.", True, None, 1)
    assert [solution.domain for solution in verify_sets.gsm8k_models(tmp_path)] == list(verify_sets.GSM8K_WRITERS)
    assert verify_sets.gsm8k_gold(tmp_path)[0].right
    (tmp_path / verify_sets.GSM8K_GOLD).unlink()
    with pytest.raises(MissingData, match="train"):
        verify_sets.require(tmp_path)
