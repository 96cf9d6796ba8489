"""The sealer seals by itself, waits while it cannot, recovers without help, and stops where the log was altered."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.metrics import Metrics
from gateway.sealer import Sealer
from storage import audit_log, proofs, sealing
from storage.audit_log import NewEvent
from storage.audit_tables import audit_checkpoints, audit_unsealed
from storage.checkpoints import Signer, new_signing_key
from storage.database import Database, DatabaseUnreachable, open_database
from storage.vault import Vault
from tests.gateway.running import until

SIGNER = Signer(new_signing_key())
VAULT = Vault(bytes(range(32)))


@pytest.fixture
def database(home: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{home / 'countersign.db'}", VAULT)
    yield opened
    opened.close()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints.jsonl"


@contextmanager
def sealer(database: Database, outside: Path) -> Iterator[Metrics]:
    metrics = Metrics()
    running = Sealer(database, metrics, SIGNER, outside)
    running.start()
    try:
        yield metrics
    finally:
        running.stop()


def append(database: Database, events: int = 1) -> None:
    with database.transaction() as conn:
        audit_log.append_many(conn, [NewEvent("decision", "system", "acme") for _ in range(events)])


def size(database: Database) -> int:
    with database.read() as conn:
        last = proofs.latest_note(conn)
    return 0 if last is None else last[0]


def kept(outside: Path) -> list[int]:
    return [json.loads(line)["size"] for line in outside.read_text().splitlines()] if outside.is_file() else []


def figure(metrics: Metrics, name: str) -> float:
    return metrics.registry.get_sample_value(name) or 0.0


def test_what_is_committed_is_sealed_and_kept_outside(database: Database, outside: Path) -> None:
    append(database, 5)
    with sealer(database, outside) as metrics:
        until(lambda: kept(outside) == [5])
        append(database, 2)
        until(lambda: kept(outside)[-1] == 7)
    assert figure(metrics, "countersign_audit_seal_failures_total") == 0
    with database.read() as conn:
        assert sealing.unsealed(conn) == 0


def test_a_backlog_larger_than_a_turn_is_sealed_without_pausing(
    database: Database, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "LIMIT", 2)
    append(database, 9)
    with sealer(database, outside):
        until(lambda: size(database) == 9)
    assert kept(outside) == [2, 4, 6, 8, 9]


def test_a_stop_seals_what_waits(database: Database, outside: Path) -> None:
    with sealer(database, outside):
        append(database)
        until(lambda: size(database) == 1)
        append(database, 3)
    assert kept(outside)[-1] == 4


def test_one_of_two_seals_and_the_other_takes_over(database: Database, outside: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.jsonl"
    append(database)
    with sealer(database, outside):
        until(lambda: size(database) == 1)
        with sealer(database, second):
            append(database)
            until(lambda: kept(outside) == [1, 2])
        assert kept(second) == []
    append(database)
    with sealer(database, second):
        until(lambda: size(database) == 3)
    assert kept(second) == [1, 2, 3]  # its own file got what the first had sealed


def test_a_full_disk_outside_is_waited_for(database: Database, outside: Path) -> None:
    outside.symlink_to("/dev/full")
    append(database, 3)
    with sealer(database, outside) as metrics:
        until(lambda: figure(metrics, "countersign_audit_seal_failures_total") > 0)
        append(database, 2)
        until(lambda: figure(metrics, "countersign_audit_seal_failures_total") > 1)
        assert size(database) == 3  # the database is never more than one turn ahead of the file
        outside.unlink()
        until(lambda: kept(outside) == [3, 5])


class Away:
    """A database that does not answer for a while."""

    def __init__(self, database: Database) -> None:
        self._database, self.away = database, threading.Event()

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        with self._there().transaction() as conn:
            yield conn

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        with self._there().read() as conn:
            yield conn

    def _there(self) -> Database:
        if self.away.is_set():
            raise DatabaseUnreachable("away")
        return self._database


def test_a_database_that_is_away_is_waited_for(database: Database, outside: Path) -> None:
    wrapped = Away(database)
    append(database)
    with sealer(wrapped, outside) as metrics:  # type: ignore[arg-type]
        until(lambda: kept(outside) == [1])
        wrapped.away.set()
        append(database)
        until(lambda: figure(metrics, "countersign_audit_seal_failures_total") > 0)
        wrapped.away.clear()
        until(lambda: kept(outside) == [1, 2])


def test_a_database_that_was_set_back_stops_sealing_and_raises_the_alarm(database: Database, outside: Path) -> None:
    append(database, 3)
    with sealer(database, outside):
        until(lambda: kept(outside) == [3])
    with database.transaction() as conn:
        conn.execute(audit_checkpoints.delete())
    before = outside.read_text()
    with sealer(database, outside) as metrics:
        append(database)
        until(lambda: figure(metrics, "countersign_checkpoints_contradict") == 1)
    assert size(database) == 0
    assert outside.read_text() == before


def test_an_altered_tree_stops_sealing_and_raises_the_alarm(database: Database, outside: Path) -> None:
    append(database, 3)
    with sealer(database, outside):
        until(lambda: kept(outside) == [3])
    with database.transaction() as conn:
        conn.execute(sa.text("UPDATE audit_leaves SET hash = '00' || substr(hash, 3) WHERE leaf_index = 1"))
    append(database)
    with sealer(database, outside) as metrics:
        until(lambda: figure(metrics, "countersign_checkpoints_contradict") == 1)
    assert size(database) == 3


def test_what_somebody_else_wrote_is_not_sealed_and_raises_the_alarm(database: Database, outside: Path) -> None:
    append(database, 2)
    with sealer(database, outside) as metrics:
        until(lambda: size(database) == 2)
        with database.transaction() as conn:
            conn.execute(audit_unsealed.insert(), {"event_id": "evt_0", "hash": "11" * 32, "vouched": ""})
        until(lambda: figure(metrics, "countersign_audit_intrusions_total") == 1)
        append(database)
        until(lambda: size(database) == 4)  # with the event that tells of it
    assert figure(metrics, "countersign_audit_seal_failures_total") == 0


def test_an_event_that_is_put_back_does_not_stop_the_sealing(database: Database, outside: Path) -> None:
    append(database)
    with database.read() as conn:
        row = dict(conn.execute(sa.select(audit_unsealed)).one()._mapping)
    with sealer(database, outside) as metrics:
        until(lambda: size(database) == 1)
        with database.transaction() as conn:
            conn.execute(audit_unsealed.insert(), row)
        until(lambda: figure(metrics, "countersign_audit_intrusions_total") == 1)
        until(lambda: size(database) == 2)
