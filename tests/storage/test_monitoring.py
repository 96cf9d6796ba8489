"""The dashboard's figures count what was recorded, for one tenant and one span of time."""

import pytest
import sqlalchemy as sa

from storage import monitoring, recording, reviews
from storage.database import Database, now
from storage.records import Action, VerdictKind
from storage.tables import review_items, verdicts
from tests.storage.made import LEASE, decision, held, interaction, item, key


def _record(conn, asker, action: Action, confidence: float | None, at: float) -> None:
    asked = interaction(asker, confidence=confidence, at=at)
    waiting = item(asked, at, action=action) if action in (Action.HOLD, Action.FLAG) else None
    recording.record(conn, asked, decision(asked, action), waiting)


def test_nothing_recorded_is_no_error(database: Database) -> None:
    with database.read() as conn:
        found = monitoring.figures(conn, "acme", 0.0)
    assert (found["total"], found["review_rate"], found["threshold"], found["hours"]) == (0, None, None, [])
    assert (found["median_seconds_to_verdict"], found["oldest_waiting_seconds"]) == (None, None)


def test_actions_rate_and_histogram(database: Database, caller) -> None:
    with database.transaction() as conn:
        for confidence in (0.0, 0.04999, 0.05, 0.5, None):
            _record(conn, caller, Action.HOLD, confidence, 7_200.0)
        for confidence in (0.85, 0.99, 1.0):
            _record(conn, caller, Action.RELEASE, confidence, 10_800.0)
        found = monitoring.figures(conn, "acme", 0.0)
    assert found["actions"] == {"release": 3, "flag": 0, "hold": 5, "escalate": 0}
    assert (found["total"], found["review_rate"], found["threshold"]) == (8, 5 / 8, 0.85)
    hold, release = found["confidence_histogram"]["hold"], found["confidence_histogram"]["release"]
    assert (hold[0], hold[1], hold[10], sum(hold)) == (2, 1, 1, 4)
    assert (release[17], release[19], sum(release)) == (1, 2, 3)
    assert found["unknown_confidence"]["hold"] == 1
    assert found["hours"] == [
        {"hour": 7_200.0, "total": 5, "release": 0, "flag": 0, "hold": 5, "escalate": 0},
        {"hour": 10_800.0, "total": 3, "release": 3, "flag": 0, "hold": 0, "escalate": 0},
    ]


def test_since_leaves_out_what_is_older_but_not_what_waits(database: Database, caller) -> None:
    with database.transaction() as conn:
        _record(conn, caller, Action.HOLD, 0.5, 1_000.0)
        _record(conn, caller, Action.FLAG, 0.5, 9_000.0)
        found = monitoring.figures(conn, "acme", 5_000.0)
        at = now(conn)
    assert (found["actions"]["hold"], found["actions"]["flag"], found["queue_depth"]) == (0, 1, 2)
    assert found["oldest_waiting_seconds"] == pytest.approx(at - 1_000.0, abs=60)


def test_another_tenant_sees_none_of_it(database: Database, caller) -> None:
    held(database, caller)
    with database.read() as conn:
        found = monitoring.figures(conn, "rival", 0.0)
    assert (found["total"], found["queue_depth"], sum(found["states"].values())) == (0, 0, 0)


@pytest.mark.parametrize(("seconds", "median"), [((1, 2, 9), 2.0), ((1, 2, 4, 9), 3.0)])
def test_verdicts_and_the_median_time_to_them(database: Database, caller, seconds, median: float) -> None:
    ada, bob = key(database, "Ada"), key(database, "Bob")
    for wait in seconds:
        waiting = held(database, caller)
        with database.transaction() as conn:
            token = reviews.claim(conn, waiting.id, bob, LEASE).fencing_token
            reviews.decide(conn, waiting.id, bob, token, VerdictKind.REFER, "unsure", None)
            token = reviews.claim(conn, waiting.id, ada, LEASE).fencing_token
            reviews.decide(conn, waiting.id, ada, token, VerdictKind.REJECT, "wrong", None)
            conn.execute(sa.update(review_items).where(review_items.c.id == waiting.id).values(created_at=1_000.0))
            conn.execute(sa.update(verdicts).where(verdicts.c.item_id == waiting.id).values(created_at=1_000.0 + wait))
    with database.read() as conn:
        found = monitoring.figures(conn, "acme", 0.0)
    count = len(seconds)
    assert found["verdicts"] == {"approve": 0, "edit": 0, "reject": count, "refer": count}
    assert found["median_seconds_to_verdict"] == median
    assert found["states"]["rejected"] == count
