"""Rows survive an interruption: whole lines are kept, a half-written one is dropped and written anew."""

import json
from dataclasses import replace
from pathlib import Path

from tests.training.made_rows import made_rows
from training.calibration_rows import append_rows, in_second_half, read_rows


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    rows = made_rows(7)
    append_rows(tmp_path / "rows.jsonl", rows[:3])
    append_rows(tmp_path / "rows.jsonl", rows[3:])
    assert list(read_rows(tmp_path / "rows.jsonl")) == rows


def test_a_line_cut_short_is_dropped_and_does_not_spoil_the_next(tmp_path: Path) -> None:
    path, rows = tmp_path / "rows.jsonl", made_rows(3)
    append_rows(path, rows[:2])
    path.write_bytes(path.read_bytes()[:-20])
    assert list(read_rows(path)) == rows[:1]
    append_rows(path, rows[2:])
    assert list(read_rows(path)) == [rows[0], rows[2]]


def test_a_question_and_a_kind_of_foreign_question_never_lie_in_both_halves() -> None:
    rows = made_rows(3_000)
    measured = [row for row in rows if in_second_half(row)]
    fitted = [row for row in rows if not in_second_half(row)]
    assert {row.template for row in measured} & {row.template for row in fitted} == {""}
    assert not {row.text for row in measured} & {row.text for row in fitted}
    assert 0.4 < len(measured) / len(rows) < 0.6


def test_samples_are_kept_and_rows_written_before_there_were_any_are_still_read(tmp_path: Path) -> None:
    path, (row, old) = tmp_path / "rows.jsonl", made_rows(2)
    append_rows(path, [replace(row, samples=("Answer: 5", "Answer: 6")), old])
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    del lines[1]["samples"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    again = list(read_rows(path))
    assert again[0].samples == ("Answer: 5", "Answer: 6")
    assert again[1] == old
