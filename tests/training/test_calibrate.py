"""The command fits on one half, measures on the other, writes valid files, and says in one sentence why it cannot."""

import json
from pathlib import Path

import pytest

from serving.confidence.calibration import calibration_from_json
from serving.confidence.certificate import certificate_from_json
from tests.serving.tiny_checkpoint import write_tiny_checkpoint
from tests.training.made_rows import MODEL, made_rows
from training.calibrate import main
from training.calibration_files import write_all
from training.calibration_fitting import fit_and_measure
from training.calibration_own import graded_rows


def test_what_is_written_is_a_calibration_with_the_figures_of_rows_that_did_not_make_it(tmp_path: Path) -> None:
    fitted = fit_and_measure(graded_rows(made_rows(2_000)), alpha=0.15, delta=0.05)
    written = write_all(fitted, tmp_path, tmp_path)
    body = json.loads(written.calibration.read_text())
    assert body["id"].startswith("cal_")
    assert calibration_from_json(body) == fitted.calibration
    assert certificate_from_json(json.loads(written.certificate.read_text())) == fitted.certificate
    assert fitted.calibration.model == MODEL
    assert 800 < fitted.calibration.rows < 1_200
    assert fitted.calibration.metrics["auroc"] > 0.8
    assert 0.0 <= fitted.calibration.metrics["foreign_released"] <= 0.01


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
