"""The worker's duties come each in its time: whatever one of them finds or meets, the others are done."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest
import sqlalchemy as sa

from gateway.duties import LONGEST_PAUSE_SECONDS, Duty
from gateway.metrics import Metrics
from gateway.worker import Worker
from storage import dispatch, review_sweeps
from storage.database import Database, open_database
from storage.errors import DatabaseUnreachable, QueueUnreachable
from storage.records import ItemState, ReviewItem, Role
from storage.review_queue import ReviewQueue
from storage.tables import review_items
from tests.gateway.hand_clock import HandClock
from tests.gateway.running import settings_for, until
from tests.storage.conftest import VAULT
from tests.storage.made import held, key, reread


@pytest.fixture
def database(home: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{home}/countersign.db", VAULT)
    yield opened
    opened.close()


@pytest.fixture
def queue(home: Path, valkey_url: str) -> Iterator[ReviewQueue]:
    made = ReviewQueue(valkey_url, f"worker-{home.name}")
    yield made
    made.close()


def worker_on(database: Database, queue: ReviewQueue, home: Path, clock: HandClock | None = None) -> Worker:
    settings = settings_for(home, "http://127.0.0.1:1", "")
    return Worker(settings, database, queue, Metrics(), clock=clock or monotonic)


def make_due(database: Database, item: ReviewItem) -> None:
    with database.transaction() as conn:
        conn.execute(sa.update(review_items).where(review_items.c.id == item.id).values(expires_at=0.0))


def test_relay_that_always_finds_more_does_not_keep_answers_from_expiring(
    database: Database, queue: ReviewQueue, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = held(database, key(database, "chat", Role.CALLER))
    relayed = threading.Event()

    def always_more(*_given: object) -> int:
        relayed.set()
        return 500

    monkeypatch.setattr(dispatch, "relay", always_more)
    worker = worker_on(database, queue, home)
    worker.start()
    try:
        assert relayed.wait(20)
        make_due(database, item)
        until(lambda: reread(database, item).state is ItemState.EXPIRED)
    finally:
        worker.stop()


@pytest.mark.parametrize("failure", [RuntimeError("unforeseen"), DatabaseUnreachable("locked")])
def test_sweep_that_fails_does_not_keep_the_relay_from_its_notes(
    database: Database, queue: ReviewQueue, home: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def fails(*_given: object) -> list[ReviewItem]:
        raise failure

    monkeypatch.setattr(review_sweeps, "expire_due", fails)
    monkeypatch.setattr(dispatch, "corrections", lambda *_given: iter(()))  # the relay alone brings it to Valkey
    held(database, key(database, "chat", Role.CALLER))
    worker = worker_on(database, queue, home)
    worker._round()
    assert queue.depth("acme") == 1
    assert worker._metrics.worker_failures._value.get() == 1


def test_relay_that_fails_is_tried_less_often_and_the_sweep_as_often_as_ever(
    database: Database, queue: ReviewQueue, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweeps, relays = list[float](), list[float]()
    clock = HandClock()

    def away(*_given: object) -> int:
        relays.append(clock.now)
        raise QueueUnreachable("away")

    def swept(*_given: object) -> list[ReviewItem]:
        sweeps.append(clock.now)
        return []

    monkeypatch.setattr(dispatch, "relay", away)
    monkeypatch.setattr(dispatch, "corrections", lambda *_given: iter(()))
    monkeypatch.setattr(review_sweeps, "expire_due", swept)
    worker = worker_on(database, queue, home, clock)
    for _ in range(20):
        worker._round()
        clock.now += 0.5
    assert len(sweeps) == 20
    assert [at - relays[0] for at in relays] == [0.0, 1.0, 3.0, 7.0]


def test_round_pauses_until_the_first_duty_is_due(database: Database, queue: ReviewQueue, home: Path) -> None:
    worker = worker_on(database, queue, home, HandClock())
    held(database, key(database, "chat", Role.CALLER))
    assert worker._round() == 0.0  # there was a note, and there may be more
    assert worker._round() == pytest.approx(worker._settings.worker_pause_seconds)


def test_duty_that_works_again_is_soon_tried_after_its_next_failure() -> None:
    clock, seconds = HandClock(0.0), 7.0
    duty = Duty("any", lambda: seconds)
    pauses = []
    for _ in range(4):
        duty.put_off(clock.now)
        pauses.append(duty.due_at)
    assert pauses == [1.0, 2.0, 4.0, LONGEST_PAUSE_SECONDS]
    duty.perform(clock)
    assert duty.due_at == 7.0
    duty.put_off(clock.now)
    assert duty.due_at == 1.0


def test_duty_with_a_long_pause_of_its_own_keeps_it() -> None:
    duty = Duty("any", lambda: 0.0, pause=3_600.0)
    for _ in range(2):
        duty.put_off(0.0)
        assert duty.due_at == 3_600.0
