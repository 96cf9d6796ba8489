"""Every filter finds its events, page by page, from an index that holds little else, on both databases."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from storage import audit_index, audit_log, audit_query
from storage.audit_log import NewEvent
from storage.audit_query import EVERYTHING, Filters
from storage.audit_tables import FILTER_IDS, FILTER_MARKS
from storage.database import Database
from storage.paging import encode_cursor
from storage.records import AuditEvent
from tests.storage import plans

TENANT = "acme"
MARKS = (*FILTER_MARKS, *FILTER_IDS)
EVENTS = 1_500


def _with(name: str, value: Any) -> Filters:
    return dataclasses.replace(EVERYTHING, **{name: value})


KINDS = ("decision", "interaction.recorded", "review.claimed")
ALONE = {
    **{name: _with(name, f"{name} 1") for name in MARKS},
    **{f"absent {name}": _with(name, "nobody") for name in MARKS},
    "kind": Filters(kinds=["decision"]),
    "absent kind": Filters(kinds=["key.revoked"]),
    "kinds": Filters(kinds=["decision", "review.claimed", "key.revoked"]),
    "since": Filters(since=1_400.0),
    "until": Filters(until=100.0),
    "min_confidence": Filters(min_confidence=0.9),
    "max_confidence": Filters(max_confidence=0.05),
    "confidences": Filters(min_confidence=0.301, max_confidence=0.309),
    "absent confidence": Filters(min_confidence=2.0),
}
PAIRS = {
    "reviewer and verdict": Filters(reviewer="reviewer 1", verdict="verdict 2"),
    "key and kinds": Filters(key_id="key_id 1", kinds=["decision", "review.claimed"]),
    "model and absent key": Filters(model="model 1", key_id="nobody"),
    "action and confidences": Filters(action="action 1", min_confidence=0.2, max_confidence=0.7),
    "reason and days": Filters(reason="reason 1", since=200.0, until=900.0),
    "kind and few confidences": Filters(kinds=["decision"], min_confidence=0.42, max_confidence=0.43),
}


@pytest.fixture
def log(database: Database) -> Database:
    """Two events each second; whatever they are marked with repeats at another pace, so that all marks meet."""
    made = [_event(number) for number in range(EVENTS)]
    with database.transaction() as conn:
        audit_log.append_many(conn, [*made, NewEvent("decision", "system", "other", trace_id="trace_id 1", at=1.0)])
        if database.dialect == "postgresql":
            conn.exec_driver_sql("ANALYZE audit_events")
    return database


def _event(number: int) -> NewEvent:
    facts: dict[str, Any] = {name: f"{name} {number // (1 + place) % 4}" for place, name in enumerate(FILTER_MARKS)}
    ids: dict[str, Any] = {name: f"{name} {number // 5}" for name in FILTER_IDS}
    if number % 3:
        facts["confidence"] = number % 1_000 / 1_000
    return NewEvent(KINDS[number % 3], "system", TENANT, data=facts, at=float(number // 2), **ids)


def _fits(event: NewEvent, filters: Filters) -> bool:
    said = {**event.data, **{name: getattr(event, name) for name in FILTER_IDS}}
    sure, at = said.get("confidence"), event.at or 0.0
    return (
        all(getattr(filters, name) in (None, said[name]) for name in MARKS)
        and (filters.kinds is None or event.kind in filters.kinds)
        and (filters.since or 0.0) <= at < (filters.until or float("inf"))
        and (filters.min_confidence is None or (sure is not None and sure >= filters.min_confidence))
        and (filters.max_confidence is None or (sure is not None and sure <= filters.max_confidence))
    )


def _pages(database: Database, filters: Filters, limit: int) -> list[AuditEvent]:
    found: list[AuditEvent] = []
    while True:
        after = audit_query.cursor_of(found[-1]) if found else None
        with database.read() as conn:
            page = audit_query.query(conn, TENANT, filters, after=after, limit=limit)
        found += page
        if len(page) < limit:
            return found


def test_every_filter_finds_its_events_newest_first_over_all_pages(log: Database) -> None:
    for name, filters in {**ALONE, **PAIRS}.items():
        found = _pages(log, filters, 97)
        expected = [event for number in range(EVENTS) if _fits(event := _event(number), filters)]
        assert [(event.at, event.id) for event in found] == sorted(((e.at, e.id) for e in found), reverse=True), name
        assert sorted((event.at, event.kind) for event in found) == sorted((e.at, e.kind) for e in expected), name


def test_no_kind_at_all_finds_nothing(log: Database) -> None:
    assert _pages(log, Filters(kinds=[]), 50) == []


@pytest.mark.parametrize("rare", [audit_index.RARE, 50])
def test_no_filter_scans_the_log(log: Database, monkeypatch: pytest.MonkeyPatch, rare: int) -> None:
    monkeypatch.setattr(audit_index, "RARE", rare)  # with few events: some marks are as common as in a large log
    for name, filters in {**ALONE, **PAIRS}.items():
        for plan in _plans(log, filters):
            assert "Seq Scan" not in plan, (name, plan)
            assert "SCAN audit_events" not in plan, (name, plan)
            assert "USE TEMP B-TREE FOR ORDER BY" not in plan or "anon" in plan or "confidence" in plan, (name, plan)


def test_mark_is_read_from_its_own_index(log: Database) -> None:
    for name in MARKS:
        for plan in _plans(log, ALONE[f"absent {name}"]):
            assert f"{name}_at" in plan, plan


def _plans(database: Database, filters: Filters) -> list[str]:
    """Of all statements that a first page and one after it execute."""
    with database.read() as conn:
        if database.dialect == "postgresql":
            conn.exec_driver_sql(
                "SET LOCAL enable_seqscan = off"
            )  # of few rows a scan is cheapest; here: is there a way?
        with plans.statements(conn) as found:
            audit_query.query(conn, TENANT, filters)
            audit_query.query(conn, TENANT, filters, after=encode_cursor(500.0, "evt_5"))
        return [plans.plan(conn, statement) for statement in list(found)]
