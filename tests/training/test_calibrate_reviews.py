"""What people said of answers in a real database is fitted to, with the weight of how each came to be looked at."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from serving.confidence.calibration import calibration_from_json
from storage import calibrations, certificates, interactions, keys
from storage.database import Database, migrate, open_database
from storage.log_keys import vault
from storage.records import Key, Role, VerdictKind
from storage.reviewed import reviewed_models
from storage.tables import decisions
from tests.storage.labelled import MODEL, answered, judge
from tests.training.made_answers import chance_of
from training.calibrate import main
from training.calibration_reviews import read_reviews
from training.labelled_file import Refused


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """Of the home that the command finds."""
    monkeypatch.setenv("COUNTERSIGN_HOME", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    own, url = vault(tmp_path / "audit", ""), f"sqlite:///{tmp_path}/countersign.db"
    migrate(url, own)
    opened = open_database(url, own)
    yield opened
    opened.close()


@pytest.fixture
def caller(database: Database) -> Key:
    with database.transaction() as conn:
        return keys.create(conn, "acme", "chat", [Role.CALLER])[0]


@pytest.fixture
def ada(database: Database) -> Key:
    with database.transaction() as conn:
        return keys.create(conn, "acme", "Ada", [Role.REVIEWER])[0]


def told(logprob: float | None, samples: float = 0.0) -> dict[str, Any]:
    signals = {"logprob_mean": logprob, "length": 2.0, "agreement": 0.5, "samples": samples, "of_a_later_version": 1.0}
    confidence = {"value": 0.5, "signals": signals, "domain": None}
    return {"text": "42", "finish_reason": "stop", "confidence": confidence}


def review(
    conn: Connection, caller: Key, ada: Key, kind: VerdictKind, logprob: float | None = -0.5, **fields: Any
) -> str:
    asked, _, waiting = answered(conn, caller, 0.5, answer=told(logprob), **fields)
    judge(conn, waiting, ada, kind)
    return asked.id


def test_only_approval_makes_an_answer_right_and_audits_weigh_by_their_chance(
    database: Database, caller: Key, ada: Key
) -> None:
    with database.transaction() as conn:
        for kind in (VerdictKind.APPROVE, VerdictKind.EDIT, VerdictKind.REJECT):
            review(conn, caller, ada, kind)
        review(conn, caller, ada, VerdictKind.APPROVE, share=0.04)
        answered(conn, caller, 0.5, answer=told(-0.5))
    with database.read() as conn:
        collected = read_reviews(conn, None)
    assert collected.model == MODEL
    assert [graded.row.right for graded in collected.answers] == [True, False, False, True]
    assert [graded.weight for graded in collected.answers] == [1.0, 1.0, 1.0, 25.0]
    assert all(graded.certifies for graded in collected.answers)
    row = collected.answers[0].row
    assert row.text == "What is 6 × 7?"
    assert (row.signals["logprob_mean"], row.signals["length"], row.signals["logprob_min"]) == (-0.5, 2.0, None)
    assert (row.signals["agreement"], row.signals["samples"]) == (None, 0.0)
    assert "of_a_later_version" not in row.signals


def test_who_audits_everything_weighs_as_those_who_audit_least(database: Database, caller: Key, ada: Key) -> None:
    with database.transaction() as conn:
        for share in (0.04, 1.0):
            review(conn, caller, ada, VerdictKind.APPROVE, share=share)
    with database.read() as conn:
        answers = read_reviews(conn, None).answers
    assert [(graded.weight, graded.heaviest) for graded in answers] == [(25.0, 25.0), (1.0, 25.0)]


def test_what_was_altered_erased_or_never_measured_is_left_out_and_said(
    database: Database, caller: Key, ada: Key
) -> None:
    with database.transaction() as conn:
        altered, erased, *_ = [review(conn, caller, ada, VerdictKind.APPROVE) for _ in range(3)]
        review(conn, caller, ada, VerdictKind.APPROVE, logprob=None)
        asked, _, waiting = answered(conn, caller, 0.5)  # by a server that sent no log-probabilities
        judge(conn, waiting, ada)
        conn.execute(sa.update(decisions).where(decisions.c.interaction_id == altered).values(threshold=0.1))
        interactions.delete(conn, erased, "acme", "key:chat")
    with database.read() as conn:
        collected = read_reviews(conn, MODEL)
    assert len(collected.answers) == 2
    assert (
        "1 reviewed answers left out: their stored records are not vouched for by this master key." in collected.notes
    )
    assert (
        "1 reviewed answers left out: they came without log-probabilities, so nothing was measured." in collected.notes
    )
    assert asked.id not in {graded.row.key for graded in collected.answers}


def test_several_models_are_named_and_one_must_be_chosen(database: Database, caller: Key, ada: Key) -> None:
    with database.read() as conn, pytest.raises(Refused, match="Nothing has been reviewed yet"):
        read_reviews(conn, None)
    with database.transaction() as conn:
        review(conn, caller, ada, VerdictKind.APPROVE)
        review(conn, caller, ada, VerdictKind.APPROVE, served_model="another")
    with database.read() as conn:
        assert reviewed_models(conn) == {"another": 1, MODEL: 1}
        with pytest.raises(Refused, match=r"--model: another \(1\), countersign-reference@0123456789ab \(1\)"):
            read_reviews(conn, None)
        assert [graded.row.model for graded in read_reviews(conn, "another").answers] == ["another"]
        with pytest.raises(Refused, match="no reviewed answers of a third"):
            read_reviews(conn, "a third")


def test_answers_from_before_an_alarm_are_fitted_to_but_not_certified_on(
    database: Database, caller: Key, ada: Key
) -> None:
    with database.transaction() as conn:
        before = review(conn, caller, ada, VerdictKind.APPROVE)
    with database.transaction() as conn:
        calibrations.store(conn, {"id": "cal_1", "model": MODEL})
        certificates.store(conn, {"id": "crt_1", "model": MODEL, "calibration_id": "cal_1"})
        certificates.activate(conn, "crt_1", "operator")
        certificates.suspend(conn, "crt_1", "worker", {})
    with database.transaction() as conn:
        after = review(conn, caller, ada, VerdictKind.APPROVE)
    with database.read() as conn:
        collected = read_reviews(conn, MODEL)
    assert {graded.row.key: graded.certifies for graded in collected.answers} == {before: False, after: True}
    assert any("1 do not stand for what is asked now" in note for note in collected.notes)


def test_reviews_become_the_calibration_that_acts_next(
    database: Database, caller: Key, ada: Key, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(3)
    with database.transaction() as conn:
        for index in range(150):
            skill = float(rng.normal(0.5, 2.0))
            kind = VerdictKind.APPROVE if rng.random() < chance_of(skill) else VerdictKind.REJECT
            question = ({"role": "user", "content": f"Question {index}"},)
            review(conn, caller, ada, kind, logprob=-float(np.exp(-skill)), messages=question)
    database.close()
    assert main(["--from-reviews", "--out", str(tmp_path / "out"), "--yes", "--json", "--alpha", "0.4"]) == 0
    told = json.loads(capsys.readouterr().out)
    written = calibration_from_json(json.loads((tmp_path / "out" / "calibration.json").read_text()))
    assert (told["model"], told["rows"] + told["measured"], told["activated"]) == (MODEL, 150, True)
    assert told["figures"]["auroc"]["value"] > 0.6
    with database.read() as conn:
        calibration, certificate = certificates.in_use(conn, MODEL)
    assert calibration is not None
    assert calibration.id == written.id == told["calibration"]
    assert certificate is not None
    assert certificate.calibration_id == written.id

    assert main(["--from-reviews", "--out", str(tmp_path / "out"), "--json", "--alpha", "0.4"]) == 0
    again = json.loads((tmp_path / "out" / "certificate.json").read_text())
    assert again["delta"] == pytest.approx(0.05 / 6)  # a second attempt has what the first one left
    with database.read() as conn:
        assert certificates.count_stored(conn, MODEL, 0.0) == 2
        assert certificates.in_use(conn, MODEL)[1] == certificate


def test_without_a_database_it_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COUNTERSIGN_HOME", str(tmp_path / "nowhere"))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert main(["--from-reviews"]) == 1
    assert "nowhere" in capsys.readouterr().err
