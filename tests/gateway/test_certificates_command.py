"""What an operator does with certificates from the command line."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway import certifying
from gateway.command import app
from gateway.operations import Refused, vault_of
from gateway.settings import Settings
from serving.confidence.calibration import calibration_to_json
from serving.confidence.certificate import Labelled, certificate_to_json, certify
from storage import calibrations, certificates, keys, policies
from storage.certified import CertificateState, Label
from storage.database import Database, open_database
from storage.errors import StorageError
from storage.records import Action, Role
from tests.gateway.certified import certificate
from tests.serving.confidence.made import MODEL, calibration
from tests.storage.labelled import label

Command = Callable[..., str]


@pytest.fixture
def database(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.setenv("COUNTERSIGN_HOME", str(home))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    opened = open_database(f"sqlite:///{home}/countersign.db", vault_of(Settings()))
    yield opened
    opened.close()


@pytest.fixture
def fitted(database: Database) -> str:
    with database.transaction() as connection:
        stored = calibrations.store(connection, calibration_to_json(calibration(MODEL)))
        return calibrations.activate(connection, stored.id, "test").id


def done(*words: str) -> Result:
    return CliRunner().invoke(app, ["certificates", *words])


def told(*words: str) -> str:
    result = done(*words)
    if result.exception is not None:
        raise result.exception
    return result.stdout


def review(database: Database, fitted: str, right: int, wrong: int = 0) -> None:
    with database.transaction() as connection:
        asker, ada = (
            keys.create(connection, "acme", name, [role])[0]
            for name, role in (("chat", Role.CALLER), ("Ada", Role.REVIEWER))
        )
        for number in range(right + wrong):
            fields = {"right": number < right, "domain": "sums", "calibration": fitted}
            label(connection, asker, ada, 0.95 if number < right else 0.2, **fields)


def state(database: Database) -> tuple[str, CertificateState] | None:
    with database.read() as connection:
        found = certificates.standing(connection, MODEL)
    return None if found is None else (found.id, found.state)


def test_certificate_is_made_of_reviewed_answers_and_activated(database: Database, fitted: str) -> None:
    review(database, fitted, right=24, wrong=4)
    lines = told("make", "--activate").splitlines()
    made = lines[0].split("\t")[0]
    assert lines[0] == f"{made}\tof 28 reviewed answers"
    assert lines[1].startswith("sums\tfrom 0.2")  # above every wrong one
    assert state(database) == (made, CertificateState.IN_FORCE)
    assert told("list").startswith(f"{made}\tin_force\t{MODEL}\t{fitted}\talpha 0.15\tdelta 0.025\t1 of 1 domains\t")
    assert told("show", made).splitlines()[1] == lines[1]
    with pytest.raises(Refused, match="--why"):
        told("suspend", made, "--why", " ")
    told("suspend", made, "--why", "a complaint")
    assert state(database) == (made, CertificateState.SUSPENDED)
    with pytest.raises(Refused, match="not in force"):
        told("suspend", made, "--why", "again")
    with pytest.raises(Refused, match="since its certificate was suspended"):
        told("make")


def test_labels_that_certify_nothing_are_not_put_in_force(database: Database, fitted: str) -> None:
    with pytest.raises(Refused, match="review some first"):
        told("make")
    review(database, fitted, right=5)
    result = done("make", "--activate")
    assert isinstance(result.exception, Refused)
    assert "certifies nothing" in str(result.exception)
    assert "sums\tnothing is certified\t5 labels" in result.stdout
    assert state(database) is None
    with pytest.raises(Refused, match="alpha"):
        told("make", "--alpha", "1.5")


def test_certificate_comes_in_from_a_file_that_is_one(database: Database, fitted: str, tmp_path: Path) -> None:
    file = tmp_path / "certificate.json"
    file.write_text(json.dumps(certificate_to_json(certificate(fitted, MODEL))))
    first = told("import", str(file), "--activate-if-none").strip()
    assert state(database) == (first, CertificateState.IN_FORCE)
    file.write_text(json.dumps(certificate_to_json(certificate(fitted, MODEL, made_at=1e9))))
    second = told("import", str(file), "--activate-if-none").strip()
    assert state(database) == (first, CertificateState.IN_FORCE)
    told("import", str(file), "--activate")
    assert state(database) == (second, CertificateState.IN_FORCE)
    told("activate", first)
    assert state(database) == (first, CertificateState.IN_FORCE)
    with pytest.raises(StorageError, match="crt_none"):
        told("activate", "crt_none")
    future = certificate(fitted, MODEL, made_at=time.time() + 120)  # a minute is a clock's fault
    for text, why in (
        (json.dumps(certificate_to_json(future)), "made_at"),
        ("{", "not a certificate"),
        ('{"format": 1}', "bounds"),
        ("[]", "must be an object"),
    ):
        file.write_text(text)
        with pytest.raises(Refused, match=why):
            told("import", str(file))
    with pytest.raises(Refused, match="cannot be read"):
        told("import", str(tmp_path / "none.json"))
    file.write_text(json.dumps(certificate_to_json(certificate("cal_unknown", MODEL))))
    with pytest.raises(StorageError, match="cal_unknown"):
        told("import", str(file))


def test_certificate_of_another_than_the_active_calibration_is_not_activated(
    database: Database, fitted: str, tmp_path: Path
) -> None:
    with database.transaction() as connection:
        calibrations.store(connection, {"id": "cal_later", "model": MODEL})
        calibrations.activate(connection, "cal_later", "test")
    file = tmp_path / "certificate.json"
    file.write_text(json.dumps(certificate_to_json(certificate(fitted, MODEL))))
    with pytest.raises(Refused, match="not the active one"):
        told("import", str(file), "--activate")


def test_policy_takes_a_share_of_audits_and_says_in_words_what_nothing_certifies(database: Database) -> None:
    words = ("--role", "caller", "--audit-share", "0.1", "--without-certificate", "release", "--tenant", "acme")
    assert CliRunner().invoke(app, ["keys", "create", "chat", *words]).exit_code == 0
    with database.read() as connection:
        key = keys.by_name(connection, "acme", "chat")
        assert key is not None
        policy = policies.get_policy(connection, key.policy.id, "acme")
    assert (policy.audit_share, policy.without_certificate) == (0.1, Action.RELEASE)
    update = ["policies", "update", policy.id, "--tenant", "acme"]
    line = CliRunner().invoke(app, [*update, "--audit-share", "0"]).stdout
    assert "audits 0 without-certificate" in line
    for option, value, why in (
        ("--audit-share", "1.1", "audit_share"),
        ("--without-certificate", "flag", "one of release, hold"),
    ):
        refused = CliRunner().invoke(app, [*update, option, value])
        assert why in str(refused.exception)


def test_who_reviews_everything_does_not_stand_for_those_who_review_little() -> None:
    def made(number: int, *, right: bool, weight: float, heaviest: float, at: float) -> Label:
        return Label(f"i{number}", "acme", "m", "cal", 0.95, right, "sums", weight, heaviest, True, at, f"v{number}")

    careful = [made(n, right=True, weight=1.0, heaviest=1.0, at=10.0) for n in range(400)]
    hasty = [made(n, right=n % 3 > 0, weight=25.0, heaviest=25.0, at=9.0) for n in range(400, 464)]
    early = [made(n, right=True, weight=1.0, heaviest=1.0, at=5.0) for n in range(500, 510)]
    told = certifying.alike([*careful, *hasty, *early])
    assert [each.heaviest for each in told] == [25.0] * 464 + [1.0] * 10
    apart = [Labelled(e.confidence, e.right, e.domain, e.weight, e.heaviest) for e in [*careful, *hasty]]
    assert threshold(apart) is not None
    assert threshold(told) is None


def threshold(rows: list[Labelled]) -> float | None:
    return certify(rows, calibration_id="cal", model="m", alpha=0.15, delta=0.05, made_at=1.0).bounds["sums"].threshold
