"""Each certificate's audits are counted for themselves, and in doubt its model's answers are held."""

from __future__ import annotations

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


def audit(database: Database, people: tuple[Key, Key], stored: StoredCertificate, times: int, right: bool) -> None:
    caller, reviewer = people
    fields: dict[str, Any] = {
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
        (watch_rows, "log_wealths", "no list"),
        (watch_rows, "log_wealths", "[NaN, 0.0, 0.0, 0.0, 0.0]"),
        (watch_rows, "log_wealths", "[0.0, 0.0]"),
        (watch_rows, "log_wealths", "[]"),
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
