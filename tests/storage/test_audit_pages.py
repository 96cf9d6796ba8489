"""Pages that look at a bounded number of events still find every event, whatever marks are asked for together."""

import itertools

import pytest

from storage import audit_index, audit_log, audit_query
from storage.audit_log import NewEvent
from storage.audit_query import Filters
from storage.database import Database
from storage.records import AuditEvent

KINDS = ("decision", "review.claimed", "review.approved")
ACTIONS = ("release", "hold", None)
ASKED = (
    {"action": "release", "kinds": ["decision"]},
    {"action": "hold", "min_confidence": 0.6},
    {"kinds": ["review.claimed", "review.approved"], "action": "release"},
    {"kinds": ["decision", "review.approved"], "min_confidence": 0.2, "max_confidence": 0.4},
    {"action": "release", "reason": "confident", "model": "m2", "kinds": ["review.claimed"]},
    {"min_confidence": 0.3, "max_confidence": 0.3},
    {"action": "hold", "reason": "confident", "since": 3.0, "until": 7.0},
    {"kinds": list(KINDS)},
    {},
)


def fits(event: AuditEvent, asked: dict[str, object]) -> bool:
    """The meaning of filters, said once more and plainly."""
    filters, data = Filters(**asked), event.data
    equal = all(getattr(filters, name) in (None, data.get(name)) for name in ("action", "reason", "model"))
    confidence = data.get("confidence")
    within = (filters.min_confidence is None or (confidence is not None and confidence >= filters.min_confidence)) and (
        filters.max_confidence is None or (confidence is not None and confidence <= filters.max_confidence)
    )
    timely = (filters.since or 0.0) <= event.at < (filters.until or 1e9)
    return equal and within and timely and (filters.kinds is None or event.kind in filters.kinds)


@pytest.fixture
def written(database: Database) -> list[AuditEvent]:
    """Newest first; many of one instant."""
    made = []
    for number, (kind, action, model) in enumerate(itertools.product(KINDS * 2, ACTIONS, ("m1", "m2"))):
        facts = {"action": action, "model": model, "reason": "confident" if number % 3 else None}
        confidence = None if number % 4 == 0 else (number % 10) / 10
        made.append(NewEvent(kind, "system", "acme", data={**facts, "confidence": confidence}, at=float(number // 4)))
    with database.transaction() as conn:
        audit_log.append_many(conn, [NewEvent("decision", "system", "rival", data={"action": "release"}, at=2.0)])
        return sorted(audit_log.append_many(conn, made), key=lambda event: (event.at, event.id), reverse=True)


@pytest.mark.parametrize("asked", ASKED, ids=str)
@pytest.mark.parametrize(("looked_at", "limit", "first"), [(1, 1, 1), (3, 2, 500), (40, 50, 1), (20_000, 4, 2)])
def test_pages_followed_to_the_end_hold_every_event_once(
    database: Database,
    written: list[AuditEvent],
    monkeypatch: pytest.MonkeyPatch,
    asked: dict[str, object],
    looked_at: int,
    limit: int,
    first: int,
) -> None:
    monkeypatch.setattr(audit_index, "FIRST_LOOK", first)
    monkeypatch.setattr(audit_index, "LOOKED_AT", looked_at)
    monkeypatch.setattr(audit_index, "RARE", looked_at)
    found: list[str] = []
    after, pages = None, 0
    with database.read() as conn:
        while pages == 0 or after is not None:
            page = audit_query.page(conn, "acme", Filters(**asked), after=after, limit=limit)
            assert len(page.events) <= limit
            found += [event.id for event in page.events]
            after, pages = page.next, pages + 1
            assert pages <= 2 * len(written)
    assert found == [event.id for event in written if fits(event, asked)]


def test_a_page_looks_no_further_when_its_time_is_up(
    database: Database, written: list[AuditEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_index, "FIRST_LOOK", 2)
    seldom = Filters(action="release", kinds=["decision"], model="m1")
    monkeypatch.setattr(audit_query, "SECONDS", 60.0)
    with database.read() as conn:
        whole = audit_query.page(conn, "acme", seldom, limit=50)
        monkeypatch.setattr(audit_query, "SECONDS", -1.0)
        short = audit_query.page(conn, "acme", seldom, limit=50)
        assert short.next is not None
        assert len(short.events) < len(whole.events)
        rest = audit_query.query(conn, "acme", seldom, after=short.next, limit=50)
    assert short.events + rest == whole.events


@pytest.mark.parametrize("after_until", [False, True])
def test_the_stricter_of_cursor_and_end_holds(database: Database, written: list[AuditEvent], after_until: bool) -> None:
    until, cursor = 3.0, next(event for event in written if event.at == (5.0 if after_until else 1.0))
    with database.read() as conn:
        found = audit_query.query(conn, "acme", Filters(until=until), after=audit_query.cursor_of(cursor), limit=100)
    rest = written[written.index(cursor) + 1 :]
    assert found == [event for event in rest if event.at < until]


def test_a_page_is_short_rather_than_slow_and_says_where_to_go_on(
    database: Database, written: list[AuditEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_index, "LOOKED_AT", 2)
    seldom = Filters(action="release", kinds=["decision"], model="m1")
    with database.read() as conn:
        page = audit_query.page(conn, "acme", seldom, limit=50)
        assert page.next is not None
        assert len(page.events) <= 2
        assert len(audit_query.query(conn, "acme", seldom, limit=50)) == sum(
            fits(event, {"action": "release", "kinds": ["decision"], "model": "m1"}) for event in written
        )
