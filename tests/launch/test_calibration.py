"""What ships with a checkpoint is put in use once, and never in the place of what is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from launch.calibration import activate_shipped
from launch.errors import CannotStart
from serving.confidence.calibration import calibration_to_json
from serving.confidence.certificate import certificate_to_json
from storage import calibrations, certificates
from storage.certified import CertificateState
from storage.database import Database, migrate, open_database
from tests.gateway.certified import certificate
from tests.serving.confidence.made import MODEL, calibration

BODY = calibration_to_json(calibration(MODEL))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("empty") / "countersign.db"
    migrate(f"sqlite:///{path}")
    return path.read_bytes()


@pytest.fixture
def database(tmp_path: Path, empty: bytes):
    (tmp_path / "countersign.db").write_bytes(empty)
    opened = open_database(f"sqlite:///{tmp_path}/countersign.db")
    yield opened
    opened.close()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    (tmp_path / "calibration.json").write_text(json.dumps(BODY))
    return tmp_path


def ship(checkpoint: Path, calibration_id: str = BODY["id"], **fields: float) -> None:
    body = certificate_to_json(certificate(calibration_id, MODEL, **fields))
    (checkpoint / "certificate.json").write_text(json.dumps(body))


def test_calibration_and_certificate_are_put_in_use_once(database: Database, checkpoint: Path) -> None:
    ship(checkpoint)
    used = activate_shipped(database, checkpoint)
    assert used.calibration_id == BODY["id"]
    assert used.told == f"Answers are released by the certificate {used.certificate_id}."
    ship(checkpoint, made_at=9e9)  # a newer one
    assert activate_shipped(database, checkpoint) == used


def test_without_a_certificate_everything_is_held_and_it_is_said(database: Database, checkpoint: Path) -> None:
    used = activate_shipped(database, checkpoint)
    assert used.certificate_id is None
    assert used.told.startswith("No certificate ships with it, so every answer is held")
    ship(checkpoint, "cal_other")
    assert "about another calibration" in activate_shipped(database, checkpoint).told
    (checkpoint / "calibration.json").unlink()
    assert activate_shipped(database, checkpoint).calibration_id is None


def test_suspended_certificate_does_not_come_back_by_a_restart(database: Database, checkpoint: Path) -> None:
    ship(checkpoint)
    used = activate_shipped(database, checkpoint)
    with database.transaction() as connection:
        certificates.suspend(connection, str(used.certificate_id), "worker", {})
    again = activate_shipped(database, checkpoint)
    assert (again.certificate_id, "suspended" in again.told) == (None, True)
    with database.read() as connection:
        standing = certificates.standing(connection, MODEL)
    assert standing is not None
    assert standing.state is CertificateState.SUSPENDED


def test_other_calibration_that_is_active_keeps_the_shipped_certificate_out(
    database: Database, checkpoint: Path
) -> None:
    with database.transaction() as connection:
        calibrations.store(connection, {"id": "cal_own", "model": MODEL})
        calibrations.activate(connection, "cal_own", "operator")
    ship(checkpoint)
    used = activate_shipped(database, checkpoint)
    assert (used.calibration_id, used.certificate_id) == ("cal_own", None)


@pytest.mark.parametrize("text", ["{", "[]", '{"id": "crt_1"}', '{"id": 1, "model": "m", "calibration_id": "c"}'])
def test_file_that_is_no_certificate_stops_the_start(database: Database, checkpoint: Path, text: str) -> None:
    (checkpoint / "certificate.json").write_text(text)
    with pytest.raises(CannotStart, match=r"certificate\.json is not a certificate"):
        activate_shipped(database, checkpoint)
