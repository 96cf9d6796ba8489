"""The command fits on one half, measures on the other, writes a valid file, and says in one sentence why it cannot."""

import json
from pathlib import Path

import pytest

from serving.confidence.calibration import calibration_from_json
from tests.serving.tiny_checkpoint import write_tiny_checkpoint
from tests.training.made_rows import MODEL, made_rows
from training.calibrate import fitted, main, write


def test_what_is_written_is_a_calibration_with_the_figures_of_rows_that_did_not_make_it(tmp_path: Path) -> None:
    calibration = fitted(made_rows(2_000))
    write(calibration, tmp_path / "calibration.json")
    body = json.loads((tmp_path / "calibration.json").read_text())
    assert body["id"].startswith("cal_")
    assert calibration_from_json(body) == calibration
    assert calibration.model == MODEL
    assert 800 < calibration.rows < 1_200
    assert calibration.metrics["auroc"] > 0.8
    assert 0.0 <= calibration.metrics["foreign_released"] <= 0.01


def test_a_model_that_is_never_right_ends_with_one_and_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")
    rows = tmp_path / "rows.jsonl"
    assert main(["--checkpoint", str(checkpoint), "--own", "4", "--foreign", "2", "--rows", str(rows)]) == 1
    assert "both right and wrong" in capsys.readouterr().err
    assert not (checkpoint / "calibration.json").exists()


def test_missing_data_that_were_asked_for_end_with_two_and_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COUNTERSIGN_DATA", str(tmp_path))
    assert main(["--gsm8k"]) == 2
    assert "COUNTERSIGN_DATA" in capsys.readouterr().err
