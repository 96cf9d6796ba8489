"""Events keep their hash, are found by every filter, and page completely while others are written."""

import base64
import dataclasses
from pathlib import Path

import pytest

from storage import audit_log, audit_query
from storage.audit_query import Filters
from storage.database import Database
from storage.errors import InvalidValue, NotFound

_FACTS = {
    "key_id": "key_1",
    "model": "m",
    "action": "hold",
    "reason": "low_confidence",
    "reviewer": "key_2",
    "verdict": "approve",
    "confidence": 0.5,
}


@pytest.fixture
def conn(database: Database):
    with database.transaction() as opened:
        yield opened


def _append(conn, kind="decision", tenant="acme", **more):
    return audit_log.append(conn, kind, "system", tenant, **more)


def _ids(conn, **filters) -> list[str]:
    return [event.id for event in audit_query.query(conn, "acme", Filters(**filters))]


def test_an_event_comes_back_unchanged_with_its_hash(conn) -> None:
    event = _append(conn, interaction_id="i", item_id="r", trace_id="t", data={"é": [0.1 + 0.2, None], "b": {"c": 1}})
    assert audit_query.get_event(conn, event.id, "acme") == event
    assert audit_query.query(conn, "acme") == [event]


@pytest.mark.parametrize("change", [{"actor": "key:x"}, {"at": 1.0}, {"data": {"a": 2}}, {"tenant": "rival"}])
def test_a_changed_event_no_longer_fits_its_hash(conn, change) -> None:
    event = _append(conn, data={"a": 1})
    assert audit_log.event_hash(event) == event.hash
    assert audit_log.event_hash(dataclasses.replace(event, **change)) != event.hash


def test_unknown_kinds_and_unkeepable_data_are_refused(conn) -> None:
    with pytest.raises(ValueError, match="kind"):
        _append(conn, kind="something.else")
    with pytest.raises(InvalidValue, match="data"):
        _append(conn, data={"confidence": float("nan")})
    assert _ids(conn) == []


def test_newest_come_first_also_within_one_instant(conn) -> None:
    written = [_append(conn).id for _ in range(20)]
    assert _ids(conn) == written[::-1]


@pytest.mark.parametrize("name", ["key_id", "model", "action", "reason", "reviewer", "verdict"])
def test_each_fact_filters(conn, name: str) -> None:
    wanted = _append(conn, data=_FACTS)
    _append(conn, data={**_FACTS, name: "other"})
    _append(conn, data={fact: value for fact, value in _FACTS.items() if fact != name})
    assert _ids(conn, **{name: _FACTS[name]}) == [wanted.id]


@pytest.mark.parametrize("name", ["interaction_id", "item_id", "trace_id"])
def test_each_reference_filters(conn, name: str) -> None:
    wanted = _append(conn, **{name: "this"})
    _append(conn, **{name: "that"})
    _append(conn)
    assert _ids(conn, **{name: "this"}) == [wanted.id]


def test_kinds_filter(conn) -> None:
    first, second = _append(conn), _append(conn, kind="key.created")
    _append(conn, kind="key.revoked")
    assert _ids(conn, kinds=["decision", "key.created"]) == [second.id, first.id]
    assert _ids(conn, kinds=[]) == []


def test_confidence_and_time_filter_by_range(conn) -> None:
    low, middle, high = (_append(conn, data={"confidence": value}) for value in (0.1, 0.5, 0.9))
    none = _append(conn)
    assert _ids(conn, min_confidence=0.5) == [high.id, middle.id]
    assert _ids(conn, max_confidence=0.5) == [middle.id, low.id]
    assert _ids(conn, min_confidence=0.2, max_confidence=0.8) == [middle.id]
    assert _ids(conn, since=none.at + 1) == []
    assert _ids(conn, until=low.at) == []
    assert set(_ids(conn, since=low.at, until=none.at + 1)) == {low.id, middle.id, high.id, none.id}


def test_another_tenants_events_are_not_found(conn) -> None:
    event = _append(conn, tenant="rival", item_id="r")
    assert _ids(conn, item_id="r") == []
    with pytest.raises(NotFound):
        audit_query.get_event(conn, event.id, "acme")


def test_pages_are_complete_and_stable_while_events_are_written(conn) -> None:
    written = [_append(conn, data={"n": n}).id for n in range(11)]
    found: list[str] = []
    after = None
    while page := audit_query.query(conn, "acme", after=after, limit=3):
        found += [event.id for event in page]
        after = audit_query.cursor_of(page[-1])
        _append(conn)  # newer than every page still to come
    assert found == written[::-1]


def _cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


_HOSTILE = [_cursor(f'[{"9" * 400}, "a"]'), _cursor("[" * 3000), _cursor('[1, "\\ud800"]'), _cursor('[1, "\\u0000"]')]


@pytest.mark.parametrize("cursor", ["", "x", "e30", "WzEsIDJd", "é", "WyJhIiwgImIiXQ", "W05hTiwgImIiXQ", *_HOSTILE])
def test_a_cursor_that_is_none_is_refused(conn, cursor: str) -> None:
    with pytest.raises(InvalidValue, match="after"):
        audit_query.query(conn, "acme", after=cursor)


def test_every_kind_of_event_is_written_by_the_product() -> None:
    product = Path(audit_log.__file__).parents[1]
    files = [file for part in ("storage", "gateway") for file in (product / part).glob("*.py")]
    text = "".join(file.read_text() for file in files if file.name != "audit_log.py")
    assert [kind for kind in audit_log.EVENT_KINDS if f'"{kind}"' not in text] == []
