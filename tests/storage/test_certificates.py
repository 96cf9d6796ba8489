"""Of a model at most one certificate stands, and one that was suspended never comes back."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from storage import audit_query, calibrations, certificates, rights_told
from storage.certified import CertificateState
from storage.database import Database, now
from storage.errors import InvalidValue, NotFound
from storage.tables import certificates as table

FORCE, SUSPENDED, SUPERSEDED = CertificateState.IN_FORCE, CertificateState.SUSPENDED, CertificateState.SUPERSEDED


@pytest.fixture
def conn(database: Database):
    with database.transaction() as opened:
        for number, model in enumerate(("m@1", "m@1", "m@2")):
            calibrations.store(opened, {"id": f"cal_{number}", "model": model})
        calibrations.activate(opened, "cal_0", "system")
        yield opened


def body(name: str, calibration: str = "cal_0", model: str = "m@1", made_at: float = 9e9) -> dict[str, Any]:
    return {"id": name, "model": model, "calibration_id": calibration, "alpha": 0.15, "delta": 0.05, "made_at": made_at}


def put_in_force(conn: Connection, name: str, **fields: Any) -> None:
    certificates.activate(conn, certificates.store(conn, body(name, **fields)).id, "system")


def states(conn: Connection) -> dict[str, CertificateState]:
    return {stored.id: stored.state for stored in certificates.list_all(conn)}


def test_a_certificate_comes_back_unchanged_and_is_in_force_only_once_activated(conn) -> None:
    stored = certificates.store(conn, body("crt_1"))
    assert certificates.store(conn, body("crt_1")) == certificates.get(conn, "crt_1") == stored
    assert (stored.body, stored.state) == (body("crt_1"), CertificateState.STORED)
    assert certificates.standing(conn, "m@1") is None
    assert certificates.activate(conn, "crt_1", "key:admin").state is FORCE
    kinds = [event.kind for event in audit_query.query(conn, "default", limit=100)]
    assert (kinds.count("certificate.stored"), kinds.count("certificate.activated")) == (1, 1)


def test_what_it_is_about_must_be_there_and_fit(conn) -> None:
    with pytest.raises(NotFound, match="cal_9"):
        certificates.store(conn, body("crt_1", calibration="cal_9"))
    with pytest.raises(InvalidValue, match="model"):
        certificates.store(conn, body("crt_1", calibration="cal_2"))
    with pytest.raises(InvalidValue, match="calibration_id"):
        certificates.store(conn, {"id": "crt_1", "model": "m@1"})
    certificates.store(conn, body("crt_1"))
    with pytest.raises(InvalidValue, match="other numbers"):
        certificates.store(conn, body("crt_1", made_at=1.0))
    with pytest.raises(NotFound):
        certificates.activate(conn, "crt_2", "system")


def test_the_next_one_takes_its_place_and_other_models_keep_theirs(conn) -> None:
    put_in_force(conn, "crt_1")
    put_in_force(conn, "crt_3", calibration="cal_2", model="m@2")
    put_in_force(conn, "crt_2")
    assert states(conn) == {"crt_1": SUPERSEDED, "crt_2": FORCE, "crt_3": FORCE}
    assert {stored.id for stored in certificates.in_force(conn)} == {"crt_2", "crt_3"}


def test_the_database_itself_keeps_a_second_one_from_standing(conn) -> None:
    put_in_force(conn, "crt_1")
    row = {"id": "crt_2", "model": "m@1", "calibration_id": "cal_0", "body": "{}", "created_at": 1.0}
    for state in ("in_force", "suspended"):
        with pytest.raises(IntegrityError), conn.begin_nested():
            conn.execute(table.insert(), {**row, "state": state, "suspended_at": 1.0})


def test_a_suspended_one_stands_until_one_made_afterwards_takes_its_place(conn) -> None:
    put_in_force(conn, "crt_1", made_at=1.0)
    certificates.store(conn, body("crt_old", made_at=2.0))
    certificates.store(conn, body("crt_early", made_at=9e9))  # says that it was made long after all that is to come
    assert certificates.suspend(conn, "crt_1", "worker", {"why": "wrong"})
    assert not certificates.suspend(conn, "crt_1", "worker", {"why": "wrong"})
    assert certificates.standing(conn, "m@1").state is SUSPENDED
    for name in ("crt_1", "crt_old", "crt_early"):
        with pytest.raises(InvalidValue, match="make a new one"):
            certificates.activate(conn, name, "system")
    time.sleep(0.005)  # SQLite's clock has steps of a millisecond
    put_in_force(conn, "crt_2", made_at=now(conn) + 1)
    stored = dict.fromkeys(("crt_old", "crt_early"), CertificateState.STORED)
    assert states(conn) == {"crt_1": SUPERSEDED, "crt_2": FORCE, **stored}
    with pytest.raises(InvalidValue, match="make a new one"):
        certificates.activate(conn, "crt_1", "system")
    (told,) = [e for e in audit_query.query(conn, "default", limit=100) if e.kind == "certificate.suspended"]
    assert told.data["certificate"] == "crt_1"
    assert told.data["why"] == "wrong"


def test_activation_waits_for_a_suspension_under_way_and_is_refused_after_it(database: Database) -> None:
    with database.transaction() as conn:
        calibrations.store(conn, {"id": "cal_0", "model": "m@1"})
        put_in_force(conn, "crt_1", made_at=1.0)
        certificates.store(conn, body("crt_2", made_at=2.0))

    def activate() -> None:
        with database.transaction() as conn:
            certificates.activate(conn, "crt_2", "system")

    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as conn:
            certificates.suspend(conn, "crt_1", "worker", {"why": "wrong"})
            activated = pool.submit(activate)
            assert not wait([activated], 0.5).done
        with pytest.raises(InvalidValue, match="make a new one"):
            activated.result(20)
    with database.read() as conn:
        assert states(conn) == {"crt_1": SUSPENDED, "crt_2": CertificateState.STORED}


def test_calibration_and_certificate_of_a_question_are_read_together(conn) -> None:
    def ids(model: str) -> tuple[str | None, ...]:
        return tuple(None if found is None else found.id for found in certificates.in_use(conn, model))

    assert ids("m@1") == ("cal_0", None)
    put_in_force(conn, "crt_1", calibration="cal_1")  # of a calibration that is not active: told as it is
    put_in_force(conn, "crt_3", calibration="cal_2", model="m@2")
    assert (ids("m@1"), ids("m@2"), ids("m@3")) == (("cal_0", "crt_1"), (None, "crt_3"), (None, None))
    certificates.suspend(conn, "crt_1", "worker", {})
    assert certificates.in_use(conn, "m@1")[1].state is SUSPENDED


def test_a_state_that_somebody_wrote_into_the_database_releases_nothing(database: Database, conn) -> None:
    put_in_force(conn, "crt_1")
    with pytest.raises(IntegrityError), conn.begin_nested():
        conn.execute(sa.update(table).values(state="valid"))


def test_a_certificate_that_is_not_as_the_log_tells_is_named(database: Database, conn) -> None:
    put_in_force(conn, "crt_1")
    put_in_force(conn, "crt_2")
    put_in_force(conn, "crt_3", calibration="cal_2", model="m@2")
    certificates.suspend(conn, "crt_3", "worker", {"why": "wrong"})
    row = {"id": "crt_9", "model": "m@3", "calibration_id": "cal_0", "body": "{}", "created_at": 1.0}
    assert rights_told.on(conn) == []
    conn.execute(table.insert(), {**row, "state": "in_force"})  # past the program
    conn.execute(sa.update(table).where(table.c.model == "m@2").values(state="in_force"))
    conn.execute(sa.update(table).where(table.c.id == "crt_2").values(state="superseded"))
    conn.execute(sa.update(table).where(table.c.id == "crt_1").values(state="in_force"))
    told = "; ".join(rights_told.on(conn))
    assert "crt_9 is there, and the log tells of no certificate.stored of it" in told
    assert "crt_3 is in_force, and the log last tells certificate.suspended of it" in told
    assert "crt_1 is in force, and the log tells that another one took its place" in told


def test_a_body_that_is_no_object_leaves_its_row_readable(conn) -> None:
    put_in_force(conn, "crt_1")
    for text in ("{", "[]", "[" * 100_000):
        conn.execute(sa.update(table).values(body=text))
        assert (certificates.standing(conn, "m@1").body, certificates.in_use(conn, "m@1")[1].state) == ({}, FORCE)
