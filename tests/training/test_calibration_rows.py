"""Rows survive an interruption: whole lines are kept, a half-written one is dropped and written anew."""

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
