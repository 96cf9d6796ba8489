"""A calibration is kept as it is, and one at most is active for a model."""

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from storage import audit_query, calibrations
from storage.database import Database
from storage.errors import InvalidValue, NotFound
from storage.tables import calibrations as table


@pytest.fixture
def conn(database: Database):
    with database.transaction() as opened:
        yield opened


def _body(name: str, model: str = "m@1", weight: float = 0.1 + 0.2) -> dict:
    return {"id": name, "model": model, "weights": {"b": weight, "a": [1.0, 1e-300]}}


def test_a_calibration_comes_back_unchanged(conn) -> None:
    stored = calibrations.store(conn, _body("cal_1"))
    assert calibrations.get(conn, "cal_1") == stored
    assert (stored.body, stored.model, stored.active) == (_body("cal_1"), "m@1", False)
    assert calibrations.get(conn, "cal_2") is None


def test_storing_again_changes_nothing_and_other_numbers_need_another_id(conn) -> None:
    first = calibrations.store(conn, _body("cal_1"))
    assert calibrations.store(conn, _body("cal_1")) == first
    with pytest.raises(InvalidValue, match="id"):
        calibrations.store(conn, _body("cal_1", weight=0.4))


@pytest.mark.parametrize("body", [{}, {"id": "cal"}, {"model": "m"}, {"id": "", "model": "m"}, {"id": 1, "model": "m"}])
def test_a_body_must_name_its_id_and_model(conn, body) -> None:
    with pytest.raises(InvalidValue):
        calibrations.store(conn, body)


def test_numbers_that_are_none_are_refused(conn) -> None:
    with pytest.raises(InvalidValue, match="body"):
        calibrations.store(conn, _body("cal_1", weight=float("nan")))


def test_one_is_active_for_a_model(conn) -> None:
    for name, model in (("cal_1", "m@1"), ("cal_2", "m@1"), ("cal_3", "m@2")):
        calibrations.store(conn, _body(name, model))
    assert calibrations.active(conn, "m@1") is None
    for name in ("cal_1", "cal_3", "cal_2", "cal_2"):
        assert calibrations.activate(conn, name, "key:admin").active
    assert calibrations.active(conn, "m@1").id == "cal_2"
    assert calibrations.active(conn, "m@2").id == "cal_3"
    kinds = [event.kind for event in audit_query.query(conn, "default", limit=100)]
    assert (kinds.count("calibration.stored"), kinds.count("calibration.activated")) == (3, 3)


def test_the_database_itself_refuses_two_active_ones(database: Database) -> None:
    with database.transaction() as conn:
        for name in ("cal_1", "cal_2"):
            calibrations.store(conn, _body(name))
    with pytest.raises(IntegrityError), database.transaction() as conn:
        conn.execute(sa.update(table).values(active=True))


def test_an_unknown_calibration_cannot_be_activated(conn) -> None:
    with pytest.raises(NotFound):
        calibrations.activate(conn, "cal_none", "key:admin")
