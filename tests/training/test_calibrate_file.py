"""Any model is calibrated from a file: its confidence and certificate hold, and nothing acts unasked."""

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.confidence.calibration import Calibration, calibration_from_json
from serving.confidence.certificate import Certificate, certificate_from_json
from storage import certificates
from storage.database import migrate, open_database
from storage.log_keys import vault
from tests.training.made_answers import MODEL, made_answers, made_measured, write_lines, write_table
from training.calibrate import main
from training.calibration_fitting import fit_and_measure
from training.calibration_report import confidence
from training.labelled_answers import read_answers
from training.labelled_columns import Columns

ALPHA = 0.1


@pytest.fixture(autouse=True)
def nobody_at_the_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    monkeypatch.setenv("COUNTERSIGN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "250")  # so that no sentence in a table is broken
    monkeypatch.delenv("DATABASE_URL", raising=False)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where the product ran once."""
    made = tmp_path / "home"
    made.mkdir()
    migrate(f"sqlite:///{made}/countersign.db", vault(made / "audit", ""))
    return made


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many as are quickly fitted."""
    return write_lines(tmp_path_factory.mktemp("lines") / "answers.jsonl", made_answers(160))


def parts(out: Path) -> tuple[Calibration, Certificate]:
    return (
        calibration_from_json(json.loads((out / "calibration.json").read_text())),
        certificate_from_json(json.loads((out / "certificate.json").read_text())),
    )


def in_use(home: Path) -> tuple[str | None, str | None]:
    database = open_database(f"sqlite:///{home}/countersign.db")
    with database.read() as connection:
        calibration, certificate = certificates.in_use(connection, MODEL)
    database.close()
    return calibration and calibration.id, certificate and certificate.id


def test_on_answers_of_known_chance_it_means_what_it_says_and_its_certificate_holds(tmp_path: Path) -> None:
    measured = write_lines(tmp_path / "measured.jsonl", (line for _, line in made_measured(3_000)))
    assert main(["--file", str(measured), "--out", str(tmp_path), "--alpha", str(ALPHA)]) == 0
    calibration, certificate = parts(tmp_path)
    fresh = made_measured(3_000, seed=1)
    write_lines(tmp_path / "fresh.jsonl", (line for _, line in fresh))
    rows = [graded.row for graded in read_answers(tmp_path / "fresh.jsonl", None, Columns({})).answers]
    told = np.array([confidence(calibration, row) for row in rows], dtype=float)
    truth = np.array([chance for chance, _ in fresh])
    assert np.abs(told - truth).mean() <= 0.05
    bound = certificate.bound(None)
    assert bound is not None
    assert bound.threshold is not None
    released = told >= bound.threshold
    assert 1.0 - truth[released].mean() <= ALPHA
    best = np.sort(1.0 - truth)  # the widest coverage that any rule of the true chances could reach
    reachable = np.mean(np.cumsum(best) / np.arange(1, len(best) + 1) <= ALPHA)
    assert released.mean() >= 0.7 * reachable


def test_it_writes_two_small_images_and_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_lines(tmp_path / "answers.jsonl", made_answers(400))
    assert main(["--file", str(file), "--out", str(tmp_path), "--json"]) == 0
    told = capsys.readouterr()
    body = json.loads(told.out)
    for name in ("reliability.png", "risk_coverage.png"):
        image = (tmp_path / name).read_bytes()
        assert image.startswith(b"\x89PNG\r\n\x1a\n")
        assert len(image) <= 100_000
        assert str(tmp_path / name) in body["files"]
    figures = body["figures"]
    assert set(figures) >= {"auroc", "prr", "aurc", "ece", "debiased_ece", "brier", "coverage", "released_risk"}
    assert "worst_domain_ece" in figures
    for figure in figures.values():
        assert figure["low"] is None or figure["low"] <= figure["value"] <= figure["high"]
    assert {group["domain"] for group in body["domains"]} == {"sums", "dates"}
    assert body["measured"] + body["rows"] == 400
    assert "released risk" in told.err
    assert body["certificate"]["calibration_id"] == body["calibration"] == parts(tmp_path)[0].id


def test_nothing_is_activated_where_nobody_can_be_asked(
    lines: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--file", str(lines), "--out", str(tmp_path / "out"), "--activate"]) == 1
    assert "Not activated" in capsys.readouterr().err
    assert in_use(home) == (None, None)


def test_samples_make_a_cascade_that_tells_more_than_the_tokens(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    answers = made_answers(500)
    for answer in answers:
        agrees = rng.random() < (0.9 if answer["right"] else 0.2)
        answer["samples"] = [answer["answer"] if agrees else "The answer follows. Answer: 7."]
    fitted = {}
    for name, lines in (("with", answers), ("without", [{**answer, "samples": []} for answer in answers])):
        file = write_lines(tmp_path / f"{name}.jsonl", lines)
        fitted[name] = fit_and_measure(read_answers(file, None, Columns({})), ALPHA, 0.05)
    assert fitted["without"].calibration.cascade is None
    cascade = fitted["with"].calibration.cascade
    assert cascade is not None
    assert cascade.most == 1
    assert fitted["with"].figures["auroc"].value > fitted["without"].figures["auroc"].value + 0.03


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("word", "agreed"), [("y", True), ("", False)])
def test_at_a_terminal_it_asks_and_does_as_told(
    word: str, agreed: bool, lines: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(f"{word}\n"))
    assert main(["--file", str(lines), "--out", str(tmp_path / "out"), "--alpha", "0.4"]) == 0
    calibration, certificate = parts(tmp_path / "out")
    assert in_use(home) == ((calibration.id, certificate.id) if agreed else (None, None))


def test_yes_activates_calibration_and_certificate_without_asking(lines: Path, home: Path, tmp_path: Path) -> None:
    told = ["--file", str(lines), "--out", str(tmp_path / "out"), "--yes", "--alpha"]
    assert main([*told, "0.4"]) == 0
    calibration, certificate = parts(tmp_path / "out")
    assert in_use(home) == (calibration.id, certificate.id)


def test_a_certificate_that_certifies_nothing_is_not_put_in_force(
    lines: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--file", str(lines), "--out", str(tmp_path / "out"), "--yes", "--alpha", "0.02"]) == 0
    assert in_use(home) == (parts(tmp_path / "out")[0].id, None)
    assert "every answer will be held" in capsys.readouterr().err


def test_yes_without_a_database_says_what_to_do(
    lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--file", str(lines), "--out", str(tmp_path / "out"), "--yes"]) == 1
    assert "There is no database in" in capsys.readouterr().err
    assert not (tmp_path / "home").exists()


def refused(tmp_path: Path, answers: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> str:
    file = write_lines(tmp_path / "few.jsonl", answers)
    assert main(["--file", str(file), "--out", str(tmp_path / "out"), "--yes"]) == 1
    assert not (tmp_path / "out").exists()
    told: str = capsys.readouterr().err
    return told


def test_too_few_labels_and_labels_of_one_kind_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "are too few: a calibration needs 100" in refused(tmp_path, made_answers(10), capsys)
    right = [{**answer, "right": True} for answer in made_answers(200)]
    assert "All 200 answers are right" in refused(tmp_path, right, capsys)
    right[7]["right"] = False
    assert "200 answers, 199 right and 1 wrong, are too few" in refused(tmp_path, right, capsys)


def test_signals_that_never_differ_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"model": "m", "prompt": f"q{n}", "right": n % 3 > 0, "signals": {"logprob_mean": -0.5}} for n in range(300)
    ]
    file = tmp_path / "constant.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert main(["--file", str(file), "--out", str(tmp_path / "out")]) == 1
    assert "No signal differs" in capsys.readouterr().err


def test_few_labels_get_platt_and_what_is_too_few_to_certify_is_said(
    lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--file", str(lines), "--out", str(tmp_path), "--alpha", "0.02"]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "Platt" in told
    assert "too few: with no error" in told
    assert "149 answers" in told  # ln(0.05) / ln(0.98)
    assert all(bound.threshold is None for bound in parts(tmp_path)[1].bounds.values())


def test_a_table_of_confidences_with_columns_of_its_own_is_calibrated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(5)
    rows = []
    for index in range(600):
        skill = float(rng.normal(0.5, 1.5))
        right = rng.random() < 1 / (1 + math.exp(-skill))
        rows.append(
            {
                "": index,
                "category": "law" if index % 3 else "history",
                "correct_answer": "A",
                "extracted_answer": "A" if right else rng.choice(["B", "C", ""]),
                "verbal_numerical_confidence": 0.8,
                "logit_perplexity_confidence": math.exp(-math.exp(-skill) / 4),
                "token_length": int(rng.integers(5, 200)),
            }
        )
    options = ["--signal", "logprob_mean=log:logit_perplexity_confidence", "--signal", "length=log:token_length"]
    options += ["--right", "extracted_answer=correct_answer", "--domain", "category", "--model", "some-model"]
    file = write_table(tmp_path / "answers.csv", rows)
    assert main(["--file", str(file), "--out", str(tmp_path / "out"), *options]) == 0
    calibration, _ = parts(tmp_path / "out")
    assert calibration.model == "some-model"
    assert {shape.signal for shape in calibration.shapes} <= {"logprob_mean", "length"}
    assert calibration.metrics["auroc"] > 0.7
    told = " ".join(capsys.readouterr().err.split())
    assert "2 domains are named, but no question tells them apart" in told


@pytest.mark.parametrize(
    "options", [["--model", "m"], ["--right", "x"], ["--file", "a.jsonl", "--right", "x"], ["--alpha", "2"]]
)
def test_options_that_do_not_go_together_end_with_two(options: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(options)
    assert ended.value.code == 2


def test_a_folder_that_cannot_be_written_is_refused(
    lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("a file")
    assert main(["--file", str(lines), "--out", str(tmp_path / "out")]) == 1
    assert "cannot be written" in capsys.readouterr().err
