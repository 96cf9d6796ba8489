"""The confidence benchmark: what it refuses to start with, its figures over known answers, what it says of marks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import confidence, confidence_docs, confidence_own, confidence_peers, measures
from benchmarks.confidence_data import NEEDED
from benchmarks.confidence_marks import missed
from benchmarks.confidence_outputs import FOREIGN, Output, Written, collect, own_questions
from benchmarks.confidence_own import Judged
from benchmarks.peers import outputs as peers_outputs
from serving.answer import Confidence, PromptTrace, TokenTrace
from serving.confidence.cascade import Cascade
from serving.model.checkpoint import open_checkpoint
from tests.serving.confidence.made import MODEL, cascading
from tests.serving.tiny_checkpoint import write_tiny_checkpoint
from training.fresh_questions import is_for_measuring
from training.questions import DIFFICULTIES, DOMAINS, Question, split_of


def output(answer: str, domain: str = "sums", samples: tuple[str, ...] = (), text: str = "What is 1 + 1?") -> Output:
    """The right answer is 2."""

    def written(number: str) -> Written:
        letters = f"Answer: {number}"
        top = (("2", -0.1), ("3", -2.5))
        return Written(letters, "stop", tuple(TokenTrace(letter, ord(letter), -0.1, top, 0.3) for letter in letters))

    question = Question(text, "Answer: 2", "" if domain == FOREIGN else "2", domain, 1)
    return Output(question, PromptTrace(20, -1.0, -1.5), written(answer), tuple(map(written, samples)))


def judged(value: float | None, right: bool, domain: str = "sums", samples: int = 0) -> Judged:
    known = Confidence(value, "cal_1", value is not None, samples=samples)
    return Judged(output("2" if right else "3", domain, ("2",) * 4), known, known)


# -- starting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [["--questions", "4"], ["--parts", "everything"], ["--parts", "cost", "--peers"], ["--seed", "one"]],
)
def test_what_cannot_be_measured_is_refused_with_status_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        confidence.main(arguments)
    assert ended.value.code == 2
    assert "usage: ./run bench confidence" in capsys.readouterr().err


def test_missing_data_are_named_with_where_they_can_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COUNTERSIGN_DATA", str(tmp_path))
    assert confidence.main(["--json"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert str(tmp_path) in said.err
    for wanted in {one for sets in NEEDED.values() for one in sets}:
        assert wanted.source in said.err
        assert all(file in said.err for file in wanted.files)


def test_only_the_data_of_the_parts_asked_for_are_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COUNTERSIGN_DATA", str(tmp_path))
    assert confidence.main(["--parts", "drift"]) == 2
    said = capsys.readouterr().err
    assert "mmlu_pro" in said
    assert "gsm8k" not in said
    assert "big_bench" not in said


def test_peers_without_their_environment_are_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in (file for one in NEEDED["own"] for file in one.files):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    monkeypatch.setenv("COUNTERSIGN_DATA", str(tmp_path))
    monkeypatch.setenv("COUNTERSIGN_HOME", str(tmp_path / "home"))
    assert confidence.main(["--parts", "own", "--peers"]) == 2
    assert "--prepare makes it" in capsys.readouterr().err


# -- questions and outputs ---------------------------------------------------------------------------------------------


def test_questions_are_held_out_distinct_and_as_many_of_each_kind() -> None:
    questions = own_questions(3, 10)
    cells = [(question.domain, question.difficulty) for question in questions]
    assert {cell: cells.count(cell) for cell in cells} == {(d, k): 2 for d in DOMAINS for k in DIFFICULTIES}
    assert len({question.text for question in questions}) == len(questions)
    assert all(split_of(q.text) == "held_out" and is_for_measuring(q.text) for q in questions)
    assert {q.text for q in own_questions(3, 5)} < {q.text for q in questions}


def test_an_interrupted_collection_goes_on_and_keeps_what_it_had(tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")
    questions = own_questions(3, 5)[:2]
    model = open_checkpoint(checkpoint).model_id
    path = tmp_path / f"outputs-{model.replace('@', '-')}-5.jsonl"
    first = questions[0]
    kept = {
        "question": [first.text, first.solution, first.answer, first.domain, first.difficulty],
        "prompt": [20, -1.0, -1.5],
        "greedy": ["kept", "stop", [["k", 107, -0.25, [["k", -0.25], ["l", -2.0]], 0.5, None]]],
        "samples": [["sample", "length", []]] * 4,
    }
    path.write_text(json.dumps(kept) + '\n{"question":["cut sh', encoding="utf-8")
    found, (had, new) = collect(checkpoint, questions, tmp_path, seed=5)
    assert (found, [had.question, new.question]) == (model, questions)
    assert had.greedy == Written("kept", "stop", (TokenTrace("k", 107, -0.25, (("k", -0.25), ("l", -2.0)), 0.5),))
    assert [sample.text for sample in had.samples] == ["sample"] * 4
    drawn = [token for sample in new.samples for token in sample.tokens]
    assert len(new.samples) == 4
    assert [token.top for token in drawn] == [()] * len(drawn) != []  # a sample's alternatives are not kept
    assert len(path.read_bytes().splitlines()) == 2
    assert collect(checkpoint, questions, tmp_path, seed=5) == (model, [had, new])


# -- figures -----------------------------------------------------------------------------------------------------------


def test_figures_of_a_confidence_that_ranks_perfectly() -> None:
    own = [judged(0.95, True, "sums", 1)] * 95 + [judged(0.95, False, "products", 3)] * 5 + [judged(0.0, False)] * 50
    strange = [judged(0.9, True, FOREIGN)] + [judged(0.2, True, FOREIGN)] * 2 + [judged(None, True, FOREIGN)]
    found = confidence_own.figures(own + strange, seed=1, resamples=9)
    assert found["questions_by_domain"] == {"products": 5, "sums": 145}
    assert found["auroc_free"] == pytest.approx((50 + 5 / 2) / 55, abs=1e-4)
    assert found["worst_domain_ece"] == found["ece_by_domain"]["products"] > 0.5  # all wrong at 0.95
    assert found["mean_samples"] == pytest.approx((95 + 15) / 150, abs=1e-3)
    assert found["extra_tokens"] == pytest.approx(len("Answer: 2") * (95 + 15) / 150, abs=0.1)
    assert (found["ood_questions"], found["ood_released"]) == (4, 0.25)
    assert found["own_released_accuracy"] == 0.95


def test_an_answer_without_a_confidence_ranks_below_all_others_and_is_not_calibrated() -> None:
    own = [judged(0.01, True)] * 20 + [judged(None, False)] * 20 + [judged(0.01, False)]
    found = confidence_own.figures(own, seed=1, resamples=9)
    assert found["unknown"] == 20
    assert found["auroc_free"] == pytest.approx((20 + 1 / 2) / 21, abs=1e-4)
    assert found["ece_not_debiased"] == pytest.approx(20 / 21 - 0.01, abs=1e-3)
    assert found["ood_released"] is None


def test_samples_are_counted_only_as_far_as_the_cascade_wants_them() -> None:
    agreed, alone = output("2", samples=("2", "2", "2", "2")), output("2", samples=("3", "3", "3", "3"))
    calibration = cascading()
    narrow = replace(calibration, cascade=Cascade(low=0.0, high=0.01, most=2, temperature=1.0))
    of_band = confidence_own.judge([agreed, alone], MODEL, calibration)
    assert [0 < one.sampled.samples <= 2 for one in of_band] == [True, True]
    assert [one.free.samples for one in of_band] == [0, 0]
    assert of_band[0].free.value == of_band[1].free.value
    assert of_band[0].sampled.value > of_band[1].sampled.value  # type: ignore[operator]  # both are known
    assert [one.sampled.samples for one in confidence_own.judge([agreed, alone], MODEL, narrow)] == [0, 0]


def test_an_interval_lies_around_its_measure_and_follows_from_the_seed() -> None:
    rng = np.random.default_rng(0)
    sure = rng.random(300)
    right = (rng.random(300) < sure).astype(float)
    low, high = confidence_own.interval(measures.auroc, sure, right, seed=1, resamples=100)
    assert low < measures.auroc(sure, right) < high
    assert high - low < 0.2
    assert [low, high] == confidence_own.interval(measures.auroc, sure, right, seed=1, resamples=100)


def test_prr_by_hand() -> None:
    """Errors among the surest 1, 2, 3 and 4: 0, 1/2, 1/3, 1/4; of an oracle: 0, 0, 0, 1/4; by chance 1/4 each."""
    ours, oracle, chance = (0 + 1 / 2 + 1 / 3 + 1 / 4) / 4, 1 / 16, 1 / 4
    assert measures.prr([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 1]) == pytest.approx((chance - ours) / (chance - oracle))


# -- peers -------------------------------------------------------------------------------------------------------------


def test_peers_read_what_is_written_for_them(tmp_path: Path) -> None:
    path = tmp_path / "given.json"
    path.write_text(json.dumps([confidence_peers.row(output("2", samples=("2", "3")))]), encoding="utf-8")
    (row,) = peers_outputs.read(path)
    assert (row.greedy.stated, [sample.stated for sample in row.samples], row.right) == ("2", ["2", "3"], True)
    assert len(row.greedy.logprobs) == len(row.entropies) == len(row.top) == len(row.ids) == len("Answer: 2")
    assert row.top[0] == [("2", -0.1), ("3", -2.5)]
    assert peers_outputs.equality(["2", "3"], ["2", "2"]).tolist() == [[1, 1], [0, 0]]


def method(name: str, samples: int, **figures: Any) -> dict[str, Any]:
    return {"method": name, "package": "uqlm", "samples": samples, **figures}


def test_the_best_peer_of_each_column_and_measure_is_named_and_failures_do_not_count() -> None:
    methods = [
        method("a", 0, auroc=0.7, prr=0.6),
        method("b", 0, auroc=0.6, prr=0.65),
        method("c", 4, auroc=0.9, prr=0.8),
        method("d", 4, why="needs a model"),
    ]
    ours = {column: {"auroc": 0.95, "prr": 0.9} for column in ("free", "sampled")}
    found = confidence_peers.summary({"methods": methods, "ours": ours, "versions": {}})
    assert (found["auroc_free_best_peer"], found["auroc_free_best_peer_method"]) == (0.7, "uqlm a")
    assert (found["prr_free_best_peer"], found["prr_free_best_peer_method"]) == (0.65, "uqlm b")
    assert (found["auroc_sampled_best_peer"], found["prr_sampled_best_peer"]) == (0.9, 0.8)
    assert found["prr_sampled_by_their_formula"] == 0.9
    assert found["peers"] == methods


# -- marks and docs ----------------------------------------------------------------------------------------------------


def test_marks_say_what_was_missed_and_nothing_of_what_was_not_measured() -> None:
    figures = {"ece": 0.03, "auroc_free": 0.9, "auroc_free_best_peer": 0.9, "score_us": 100.0, "delta": 0.05}
    figures |= {"violation_lower": {"a": 0.01, "b": 0.06}, "verify": {"gsm8k": {"false_alarm": 0.03}}}
    said = missed(figures)
    assert [sentence.split(" ")[0] for sentence in said] == [
        "auroc_free",
        "ece",
        "violation_lower",
        "verify.gsm8k.false_alarm",
    ]
    assert missed(figures | {"ece": 0.02, "auroc_free": 0.91}) == said[2:]


def test_docs_show_the_figures_the_plots_and_what_was_missed(tmp_path: Path) -> None:
    own = [judged(0.9, index % 10 > 0) for index in range(60)] + [judged(0.3, index % 3 == 0) for index in range(40)]
    figures = {
        **confidence_own.figures([*own, judged(0.1, True, FOREIGN)], seed=1, resamples=9),
        **{"model": "made@1", "calibration": "cal_1", "seed": 1, "seconds": 2.0, "load": 0.1, "load_after": 0.2},
        "machine": {"processor": "a processor", "cores": 2, "memory_gib": 4, "python": "3.11"},
        "verify": {
            "gsm8k": {"solutions": {"wrong": 3, "right": 5}, "recall": 0.4, "first_step": None, "false_alarm": 0.01},
            "timing": {"pool_p99_ms": 4.0},
        },
        "verify_p99_ms": 4.0,
        "missed": ["ece is 0.03, not at most 0.02"],
        "failed": {"drift": "OSError: no file"},
    }
    confidence_docs.write(figures, own, tmp_path)
    page = (tmp_path / confidence_docs.PAGE).read_text()
    assert f"| sums | 100 | {figures['ece']} |" in page
    assert "| gsm8k | 3 | 5 | 0.4 | 0.01 |  |  |" in page
    assert "- ece is 0.03, not at most 0.02\n- drift failed: OSError: no file\n" in page
    assert "## Cost" not in page
    for plot in (confidence_docs.RELIABILITY, confidence_docs.RISK):
        assert f"({plot})" in page
        assert 1_000 < (tmp_path / plot).stat().st_size < 100_000
