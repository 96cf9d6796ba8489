"""What is old enough goes from the log's beginning, nothing younger, nothing that is held; and the log verifies."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from storage import audit_log, audit_query, interactions, legal_holds, partitions, proofs, retention, sealing, subjects
from storage.audit_query import Filters
from storage.audit_tables import audit_events, audit_leaves
from storage.database import Database, now
from storage.errors import PurgeTooEarly
from storage.legal_holds import Scope
from storage.tables import interactions as table
from tests.storage.logs import SIGNER, LongAgo
from tests.storage.made import key, record
from tests.storage.waiting import until_one_waits
from verifier.checkpoints import VerifyingKey
from verifier.findings import Altered
from verifier.log import Intact, verify
from verifier.postgres_log import PostgresLog
from verifier.sqlite_log import SqliteLog

DAY = 86_400.0
OLD = 200 * DAY  # older than the purges below ask for


@pytest.fixture
def write(database: Database) -> Callable[..., str]:
    """Appends an event of some age, sealed at that time."""

    def written(age: float = OLD, tenant: str = "acme", **more) -> str:
        with database.transaction() as conn:
            event = audit_log.append(conn, "decision", "system", tenant, at=now(conn) - age, **more)
            sealing.seal(conn, LongAgo(age))
        return event.id

    return written


def _purge(database: Database, days: float = 190.0) -> retention.Purged:
    told = retention.purge(database, days, "system")
    with database.transaction() as conn:
        sealing.seal(conn, SIGNER)
    return told


def _left(database: Database) -> list[str]:
    with database.read() as conn:
        kept = sa.select(audit_events.c.id).where(audit_events.c.kind != "audit.purged")
        return list(conn.execute(kept.order_by(audit_events.c.id)).scalars())


def _verified(database: Database) -> Intact:
    if database.dialect == "sqlite":
        log = SqliteLog(Path(str(database.url.database)))
    else:
        log = PostgresLog(database.url.set(drivername="postgresql").render_as_string(hide_password=False))
    with contextlib.closing(log):
        return verify(log, VerifyingKey(SIGNER.public), None)


def test_old_events_go_young_ones_stay_and_the_log_verifies(database: Database, write) -> None:
    for _ in range(3):
        write()
    young = [write(DAY), write(DAY)]
    told = _purge(database)
    assert (told.events, told.before_index, told.held) == (3, 3, False)
    assert _left(database) == young
    with database.read() as conn:
        (note,) = audit_query.query(conn, "default", Filters(kinds=["audit.purged"]))
        assert conn.execute(sa.select(sa.func.count()).select_from(audit_leaves)).scalar() == 6
    assert note.data == {"before_index": 3, "cutoff": told.cutoff, "events": 3}
    found = _verified(database)
    assert found.purged == 3


def test_an_event_removed_by_hand_is_still_found_after_a_purge(database: Database, write) -> None:
    write()
    missing = write()
    write()
    with database.transaction() as conn:
        conn.execute(sa.delete(audit_events).where(audit_events.c.id == missing))
    told = _purge(database)
    assert told.events == 1
    with pytest.raises(Altered):
        _verified(database)


def test_an_old_event_behind_a_younger_one_waits_until_that_one_is_old(database: Database, write) -> None:
    write()
    kept = [write(DAY), write()]
    assert _purge(database).events == 1
    assert _left(database) == kept


def test_later_purges_go_on_where_the_last_one_ended(database: Database, write, monkeypatch) -> None:
    monkeypatch.setattr(retention, "_AT_ONCE", 2)
    for _ in range(5):
        write()
    assert _purge(database).events == 5
    assert _purge(database).events == 0
    write(0.0)
    assert _verified(database).purged == 5


def test_a_purges_own_event_is_purged_one_day_and_still_counted(database: Database, write, monkeypatch) -> None:
    write(2 * OLD)
    with monkeypatch.context() as then:
        then.setattr(retention, "now", lambda conn: now(conn) - OLD)
        assert retention.purge(database, 190.0, "system").events == 1
    with database.transaction() as conn:
        sealing.seal(conn, LongAgo(OLD))
    write()
    told = _purge(database)
    assert (told.events, told.before_index) == (2, 3)
    assert _verified(database).purged == 3


@pytest.mark.parametrize("scope", list(Scope))
def test_what_is_under_a_legal_hold_stays_and_stops_the_purge(database: Database, caller, scope: Scope) -> None:
    with database.transaction() as conn:
        before = audit_log.append(conn, "decision", "system", "rival", at=1.0).id
        asked, _ = record(conn, caller, params={"user": "ada"}, at=1.0)
        conn.execute(sa.update(audit_events).values(at=sa.case((audit_events.c.kind == "key.created", 2.0), else_=1.0)))
        target = {Scope.TENANT: None, Scope.SUBJECT: "ada", Scope.INTERACTION: asked.id}[scope]
        sealing.seal(conn, LongAgo(OLD))
        hold = legal_holds.place(conn, "acme", scope, target, "a court asks", "key:admin")
        sealing.seal(conn, SIGNER)
    told = _purge(database)
    assert told.held
    assert told.interactions == 0
    assert before not in _left(database) or scope is Scope.TENANT
    with database.read() as conn:
        outcome = interactions.get_outcome(conn, asked.id, "acme")
        events = subjects.revealed(conn, audit_query.query(conn, "acme", Filters(interaction_id=asked.id)))
    assert outcome is not None
    assert {event.private_state for event in events} >= {"open"}
    with database.transaction() as conn:
        legal_holds.lift(conn, "acme", hold.id, "key:admin")
    again = _purge(database)
    assert (again.held, again.interactions) == (False, 1)


def test_old_contents_are_emptied_with_an_event_and_young_ones_stay(database: Database, caller, monkeypatch) -> None:
    monkeypatch.setattr(retention, "_CONTENTS_AT_ONCE", 2)
    other = key(database, "other", tenant="rival")
    with database.transaction() as conn:
        old = [record(conn, each, at=float(n))[0] for n in (1, 2, 3) for each in (caller, other)]
        young, _ = record(conn, caller)
        sealing.seal(conn, SIGNER)
    assert _purge(database).interactions == 6
    with database.read() as conn:
        assert [interactions.get_outcome(conn, each.id, each.tenant) for each in old] == [None] * 6
        assert interactions.get_outcome(conn, young.id, "acme") is not None
        told = audit_query.query(conn, "rival", Filters(kinds=["interaction.deleted"]))
        assert set(conn.execute(sa.select(table.c.answer).where(table.c.id != young.id)).scalars()) == {"{}"}
    assert sorted(str(event.interaction_id) for event in told) == sorted(e.id for e in old if e.tenant == "rival")
    assert {event.data["why"] for event in told} == {"retention"}
    assert _purge(database).interactions == 0
    _verified(database)


def test_of_two_purges_at_once_each_event_is_counted_by_one(database: Database, write) -> None:
    for _ in range(3):
        write()
    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as conn:
            first = retention._remove(conn, now(conn) - 190 * DAY, "system")
            second = pool.submit(_purge, database)
            until_one_waits(database)
        assert (first.events, second.result(timeout=30).events) == (3, 0)
    assert _verified(database).purged == 3


@pytest.mark.parametrize("days", [182.9, 0.0, -1.0, math.nan])
def test_a_purge_before_the_floor_is_refused_with_one_sentence(database: Database, write, days: float) -> None:
    kept = write(10_000 * DAY)
    with pytest.raises(PurgeTooEarly, match="at least 183 days"):
        retention.purge(database, days, "system")
    assert _left(database) == [kept]


def test_what_was_sealed_after_the_cutoff_stays_however_old_it_says_it_is(database: Database, write) -> None:
    """Only a checkpoint's time is signed."""
    write()
    with database.transaction() as conn:
        kept = audit_log.append(conn, "decision", "system", "acme", at=1.0).id
        sealing.seal(conn, LongAgo(DAY))
    assert _purge(database).events == 1
    assert _left(database) == [kept]
    _verified(database)


def test_a_clock_that_is_set_back_during_a_purge_brings_no_purge_that_does_not_verify(
    database: Database, write, monkeypatch
) -> None:
    write()
    times = iter([0.0, 3_600.0])
    monkeypatch.setattr(retention, "now", lambda conn: now(conn) - next(times, 3_600.0))
    assert _purge(database, 183.0).events == 1
    assert _verified(database).purged == 1


def test_what_is_not_sealed_yet_is_not_removed(database: Database) -> None:
    with database.transaction() as conn:
        event = audit_log.append(conn, "decision", "system", "acme", at=1.0)
    assert _purge(database).events == 0
    assert _left(database) == [event.id]


def test_an_emptied_months_partition_is_removed(database: Database, write) -> None:
    write(250 * DAY)
    with database.transaction() as conn:
        partitions.ensure_partitions(conn)  # also of the month that the event lies in
        months = partitions.partitions(conn)
    assert _purge(database).events == 1
    with database.read() as conn:
        assert partitions.partitions(conn) == months[1:]
        assert proofs.latest_note(conn) is not None
