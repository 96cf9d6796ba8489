"""The parts of the benchmarks of certificate, review and drift that can be right or wrong without the data."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from benchmarks import confidence_certificate, confidence_drift, confidence_review, holm
from benchmarks.confidence_drift import Recertified
from benchmarks.mmlu_pro import NoData, Scored, read


@pytest.mark.parametrize("benchmark", [confidence_certificate, confidence_drift, confidence_review])
def test_without_the_answers_it_ends_with_two_and_says_where_they_are(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COUNTERSIGN_DATA", str(tmp_path))
    assert benchmark.main(["--json"]) == 2
    said = capsys.readouterr().err
    assert "COUNTERSIGN_DATA" in said
    assert "github.com/Linwei94" in said


def test_answers_are_read_with_what_is_missing_as_nan(tmp_path: Path) -> None:
    (tmp_path / "mmlu_pro").mkdir()
    (tmp_path / "mmlu_pro" / "M.csv").write_text(
        ",category,correct_answer,extracted_answer,verbal_numerical_confidence,logit_perplexity_confidence,"
        "verbal_linguistic_confidence,token_length\n"
        "0,law,A,A,0.8,0.7,1.0,84\n"
        "1,art,B,,,0.6,0.9,12\n",
        encoding="utf-8",
    )
    answers = read(tmp_path, "M")
    assert answers.wrong.tolist() == [False, True]
    np.testing.assert_equal(answers.features, [[0.7, 0.8, 1.0, 84, 0, 0, 1], [0.6, np.nan, 0.9, 12, 1, 1, 0]])
    with pytest.raises(NoData, match=r"N\.csv"):
        read(tmp_path, "N")


def sample(rows: int, seed: int = 0) -> Scored:
    rng = np.random.default_rng(seed)
    confidence = np.sqrt(rng.random(rows))
    return Scored(confidence, rng.random(rows) >= confidence, np.zeros((rows, 0)))


def test_holm_by_hand_rejects_what_its_levels_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holm, "GRID", np.array([0.0, 0.5, 0.9]))
    confidence = np.repeat([0.2, 0.6, 0.95], [100, 100, 100])
    wrong = np.zeros(300, dtype=bool)
    wrong[:50] = True  # p-values at .15: far above δ at 0.0, far below at .5 and .9
    assert holm.exact_threshold(confidence, wrong, 0.15, 0.05) == 0.5
    wrong[100:121] = True  # 21 of 200: p = .042 at .5, where the two hypotheses left ask for .025
    assert holm.exact_threshold(confidence, wrong, 0.15, 0.05) == 0.9
    assert holm.exact_threshold(confidence, ~np.zeros(300, dtype=bool), 0.15, 0.05) is None


def test_the_three_rules_release_in_the_expected_order() -> None:
    drawn = sample(1500)
    ours = confidence_certificate.certified(drawn.confidence, drawn.wrong, 0.15)
    theirs = holm.exact_threshold(drawn.confidence, drawn.wrong, 0.15, 0.05)
    tempting = confidence_certificate.plug_in(drawn.confidence, drawn.wrong, 0.15)
    assert ours is not None
    assert theirs is not None
    assert tempting is not None
    assert tempting < ours < theirs


def test_runs_that_never_certify_count_as_the_longest() -> None:
    runs = [Recertified(500, 0.4, 0.1), None, Recertified(250, 0.2, 0.16), None]
    figures = confidence_drift._figures("recertify", runs)
    assert figures["recertify_requests"] is None
    assert figures["recertify_share"] == 0.5
    assert figures["recertify_violation_rate"] == 0.25
    assert confidence_drift._figures("recertify", runs[:3])["recertify_requests"] == 500
