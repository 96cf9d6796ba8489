"""Each certificate's audits are counted for themselves, and in doubt its model's answers are held."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway import release_watch
from gateway.release_watch import advance_all
from storage import audit_query, calibrations, certificates, watches
from storage.certified import CertificateState, StoredCertificate
from storage.database import Database, open_database
from storage.records import AuditEvent, Key, Role
from storage.tables import certificates as rows
from storage.tables import watches as watch_rows
from tests.gateway.certified import certify
from tests.storage.conftest import VAULT
from tests.storage.labelled import label
from tests.storage.made import key

FORCE, SUSPENDED = CertificateState.IN_FORCE, CertificateState.SUSPENDED
FIRST, SECOND = "a@1", "b@1"  # models, in the order in which their audits are counted


@pytest.fixture
def database(home: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{home}/countersign.db", VAULT)
    yield opened
    opened.close()


@pytest.fixture
def people(database: Database) -> tuple[Key, Key]:
    return key(database, "chat", Role.CALLER), key(database, "ada", Role.REVIEWER)


@pytest.fixture
def two(database: Database) -> tuple[StoredCertificate, StoredCertificate]:
    """Certificates in force, of two models."""
    with database.transaction() as connection:
        for model in (FIRST, SECOND):
            calibrations.store(connection, {"id": f"cal_{model}", "model": model})
        first, second = (certify(connection, f"cal_{model}", model) for model in (FIRST, SECOND))
    return first, second


def audit(
    database: Database, people: tuple[Key, Key], stored: StoredCertificate, times: int, right: bool, **more: Any
) -> None:
    caller, reviewer = people
    fields: dict[str, Any] = more | {
        "calibration": stored.calibration_id,
        "certificate": stored.id,
        "served_model": stored.model,
    }
    with database.transaction() as connection:
        for _ in range(times):
            label(connection, caller, reviewer, 0.9, right=right, share=0.04, **fields)


def state(database: Database, stored: StoredCertificate) -> CertificateState:
    with database.read() as connection:
        found = certificates.get(connection, stored.id)
    assert found is not None
    return found.state


def suspensions(database: Database) -> list[AuditEvent]:
    with database.read() as connection:
        events = audit_query.query(connection, "default", limit=200)
    return [event for event in events if event.kind == "certificate.suspended"]


@pytest.mark.parametrize(
    ("table", "column", "odd"),
    [
        (rows, "body", "{"),
        (watch_rows, "state", "no object"),
        (watch_rows, "state", "[]"),
        (watch_rows, "state", "{}"),
        (watch_rows, "state", '{"apart": {}}'),
        (watch_rows, "state", '{"together": {"log_wealths": [0.0, 0.0], "audited": 0}, "apart": {}}'),
    ],
)
def test_what_cannot_be_counted_is_suspended_in_doubt_and_stops_no_other_alarm(
    database: Database,
    people: tuple[Key, Key],
    two: tuple[StoredCertificate, StoredCertificate],
    table: sa.Table,
    column: str,
    odd: str,
) -> None:
    for stored in two:
        audit(database, people, stored, 1, right=True)
    assert advance_all(database) == release_watch.Advanced([], [])
    first, second = two
    mine = table.c.id == first.id if table is rows else table.c.certificate_id == first.id
    with database.transaction() as connection:
        connection.execute(sa.update(table).where(mine).values({column: odd}))
    audit(database, people, second, 9, right=False)
    assert advance_all(database) == release_watch.Advanced([first.id, second.id], [first.id])
    assert (state(database, first), state(database, second)) == (SUSPENDED, SUSPENDED)
    why = {event.data["certificate"]: event.data["why"] for event in suspensions(database)}
    assert why[first.id].startswith("its watch cannot be counted: ")
    assert why[second.id] == "audited releases were wrong too often"
    assert advance_all(database) == release_watch.Advanced([], [])


def test_count_that_fails_is_told_and_tried_again_and_stops_no_other_alarm(
    database: Database,
    people: tuple[Key, Key],
    two: tuple[StoredCertificate, StoredCertificate],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = two
    for stored in two:
        audit(database, people, stored, 9, right=False)
    unbroken = watches.advance

    def fails_once(*given: object) -> None:
        monkeypatch.setattr(watches, "advance", unbroken)
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(watches, "advance", fails_once)
    assert advance_all(database) == release_watch.Advanced([second.id], [first.id])
    assert advance_all(database) == release_watch.Advanced([first.id], [])


def test_one_domain_that_went_bad_is_seen_though_the_whole_is_not_and_is_named(
    database: Database, people: tuple[Key, Key], two: tuple[StoredCertificate, StoredCertificate]
) -> None:
    for _ in range(9):
        audit(database, people, two[0], 8, right=True, domain="arithmetic")
        audit(database, people, two[0], 1, right=False, domain=None)
    assert advance_all(database) == release_watch.Advanced([two[0].id], [])
    (event,) = suspensions(database)
    assert event.data["domain"] == ""
    with database.read() as connection:
        whole = release_watch.watch_of(connection, two[0])[1].together
    assert whole.wealth < 1


def instead(database: Database, stored: StoredCertificate, **fields: Any) -> StoredCertificate:
    """Another certificate of its model, in force in its place."""
    time.sleep(0.005)  # after what there was: SQLite's clock has steps of a millisecond
    with database.transaction() as connection:
        return certify(connection, stored.calibration_id, stored.model, **{"made_at": 2.0, **fields})


def audited(database: Database, stored: StoredCertificate) -> int:
    with database.read() as connection:
        return release_watch.watch_of(connection, stored)[1].audited


def test_audits_still_to_be_counted_count_against_the_certificate_that_takes_the_place(
    database: Database, people: tuple[Key, Key], two: tuple[StoredCertificate, StoredCertificate]
) -> None:
    audit(database, people, two[0], 30, right=False)
    third = instead(database, instead(database, two[0], alpha=0.2), made_at=3.0)
    assert advance_all(database) == release_watch.Advanced([third.id], [])
    (event,) = suspensions(database)
    assert event.data["certificate"] == third.id


def test_watch_goes_on_under_the_next_certificate_and_counts_nothing_twice(
    database: Database, people: tuple[Key, Key], two: tuple[StoredCertificate, StoredCertificate]
) -> None:
    first = two[0]
    audit(database, people, first, 1, right=False)
    audit(database, people, first, 4, right=True)
    advance_all(database)
    with database.read() as connection:
        before = release_watch.watch_of(connection, first)[1]
    second = instead(database, first)
    with database.read() as connection:
        assert release_watch.watch_of(connection, second)[1] == before
    audit(database, people, second, 2, right=True)
    assert advance_all(database) == release_watch.Advanced([], [])
    assert audited(database, second) == 7
    with database.transaction() as connection:
        certificates.activate(connection, first.id, "test")  # once more: from where the second one stood
    audit(database, people, first, 1, right=True)
    assert advance_all(database) == release_watch.Advanced([], [])
    assert audited(database, first) == 8


def test_promise_of_more_risk_is_watched_anew_and_the_way_back_finds_what_was_known(
    database: Database, people: tuple[Key, Key], two: tuple[StoredCertificate, StoredCertificate]
) -> None:
    audit(database, people, two[0], 5, right=True)
    advance_all(database)
    looser = instead(database, two[0], alpha=0.3)
    assert audited(database, looser) == 0
    stricter = instead(database, looser, alpha=0.1)
    assert audited(database, stricter) == 5


def test_attempts_to_certify_do_not_move_the_alarm_away(
    database: Database, people: tuple[Key, Key], two: tuple[StoredCertificate, StoredCertificate]
) -> None:
    audit(database, people, two[0], 2, right=False)
    advance_all(database)
    later = instead(database, two[0], delta=0.05 / 72)  # the eighth attempt's share, whose own alarm would be at 1,440
    audit(database, people, later, 2, right=False)
    assert advance_all(database) == release_watch.Advanced([later.id], [])


def test_the_way_back_from_a_looser_promise_finds_what_was_known_though_that_one_was_watched_for_longer(
    database: Database, people: tuple[Key, Key], two: tuple[StoredCertificate, StoredCertificate]
) -> None:
    audit(database, people, two[0], 3, right=False)
    advance_all(database)
    with database.read() as connection:
        known = release_watch.watch_of(connection, two[0])[1]
    looser = instead(database, two[0], alpha=0.3)
    audit(database, people, looser, 12, right=True)
    advance_all(database)
    with database.transaction() as connection:
        certificates.activate(connection, two[0].id, "test")
    with database.read() as connection:
        assert release_watch.watch_of(connection, two[0])[1] == known


def test_after_a_suspension_the_next_certificate_is_watched_afresh(
    database: Database, people: tuple[Key, Key], two: tuple[StoredCertificate, StoredCertificate]
) -> None:
    first = two[0]
    audit(database, people, first, 1, right=True)
    advance_all(database)
    second = instead(database, first)
    audit(database, people, first, 3, right=False)
    audit(database, people, second, 30, right=False)
    assert advance_all(database).suspended == [second.id]
    third = instead(database, second, made_at=9e9)
    assert audited(database, third) == 0
    assert advance_all(database) == release_watch.Advanced([], [])
    assert audited(database, third) == 0
