"""The loop's figures count what was released and held, and how right each was."""

import json
from pathlib import Path

import pytest

from benchmarks import loop
from benchmarks.loop_caller import Outcome
from benchmarks.loop_figures import figures, share_released
from training.questions import Question


def question(number: int, answer: str = "5") -> Question:
    return Question(f"question {number}", "", answer, "sums", 1 + number % 2)


def outcome(number: int, action: str, confidence: float | None, text: str) -> Outcome:
    return Outcome(f"chatcmpl-{number}", None, text, 0.1, action, "reason", confidence)


RIGHT, WRONG = "2 + 3 = 5\nAnswer: 5", "2 + 3 = 6\nAnswer: 6"
OUTCOMES = [
    outcome(0, "release", 0.95, RIGHT),
    outcome(1, "flag", 0.9, RIGHT),
    outcome(2, "release", 0.9, WRONG),
    outcome(3, "hold", 0.4, WRONG),
    outcome(4, "hold", 0.3, RIGHT),
    outcome(5, "hold", None, WRONG),
]


def test_what_left_and_what_was_held_are_counted_and_graded() -> None:
    measured = figures([question(n) for n in range(6)], OUTCOMES)
    assert (measured["released"], measured["held"], measured["unknown"]) == (3, 3, 1)
    assert measured["released_accuracy"] == pytest.approx(2 / 3, abs=1e-4)
    assert measured["held_accuracy"] == pytest.approx(1 / 3, abs=1e-4)
    assert measured["auroc"] == pytest.approx(3.5 / 6, abs=1e-4)
    assert measured["by_domain"]["sums"]["questions"] == 6
    assert set(measured["by_difficulty"]) == {"1", "2"}
    json.dumps(measured, allow_nan=False)


def test_figures_that_do_not_exist_are_null_not_nan() -> None:
    measured = figures([question(0)], OUTCOMES[:1])
    assert measured["auroc"] is None
    assert measured["held_accuracy"] is None
    json.dumps(measured, allow_nan=False)


def test_flagged_answers_have_left_too() -> None:
    assert share_released(OUTCOMES) == 0.5


def test_without_data_there_are_no_foreign_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COUNTERSIGN_DATA", raising=False)
    assert loop.foreign_questions() == []


def test_the_first_three_hundred_foreign_questions_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gsm8k").mkdir()
    lines = [json.dumps({"question": f"Story {n}?", "answer": "#### 5"}) for n in range(400)]
    (tmp_path / "gsm8k" / "test_even.jsonl").write_text("\n".join(lines))
    monkeypatch.setenv("COUNTERSIGN_DATA", str(tmp_path))
    assert loop.foreign_questions() == [f"Story {n}?" for n in range(300)]


def test_data_that_were_asked_for_and_are_missing_end_with_two_and_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COUNTERSIGN_DATA", str(tmp_path))
    assert loop.main(["--gateway", "http://127.0.0.1:1", "--key", "csk_test", "--reviewer-key", "csk_other"]) == 2
    assert "COUNTERSIGN_DATA" in capsys.readouterr().err


def test_a_gateway_that_does_not_answer_ends_with_one_and_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COUNTERSIGN_DATA", raising=False)
    assert (
        loop.main(
            ["--gateway", "http://127.0.0.1:1", "--key", "csk_test", "--reviewer-key", "csk_other", "--questions", "1"]
        )
        == 1
    )
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("loop: ")


def test_a_gateway_without_a_key_is_refused() -> None:
    with pytest.raises(SystemExit) as refusal:
        loop.main(["--gateway", "http://127.0.0.1:1"])
    assert refusal.value.code == 2
