"""Valkey is compared with the database little by little, and from the beginning when what was compared may be lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import worker as workers
from gateway.metrics import Metrics
from gateway.worker import Worker
from storage import dispatch
from storage.database import Database, migrate, open_database
from storage.errors import QueueUnreachable
from storage.records import ItemState, Role
from storage.review_queue import ReviewQueue
from tests.gateway.hand_clock import HandClock
from tests.gateway.running import settings_for
from tests.storage.conftest import VAULT
from tests.storage.made import held, key, reread


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    migrate(f"sqlite:///{tmp_path}/a.db")
    opened = open_database(f"sqlite:///{tmp_path}/a.db", VAULT)
    yield opened
    opened.close()


def test_valkey_is_compared_in_turns_and_corrected_at_the_end_of_them(
    database: Database, home: Path, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "RECONCILE_TURN_SECONDS", -1.0)
    monkeypatch.setattr(dispatch, "_PAGE", 2)
    caller, queue = key(database, "chat", Role.CALLER), ReviewQueue(valkey_url, f"turns-{home.name}")
    items = [held(database, caller, urgency=float(n)) for n in range(6)]
    assert dispatch.reconcile(database, queue) == 6
    queue.remove(items[-1].id, "acme")
    worker = Worker(settings_for(home, "http://127.0.0.1:1", valkey_url), database, queue, Metrics())
    turns = 0
    while queue.depth("acme") < 6:
        worker._reconcile()
        turns += 1
    assert turns == 6  # three pages of Valkey's, two of SQL's that fit, and the one that did not
    assert reread(database, items[-1]).state is ItemState.PENDING
    queue.close()


@pytest.mark.parametrize("lost", ["Valkey", "the lease"])
def test_what_was_compared_before_an_interruption_is_compared_again(
    database: Database, home: Path, valkey_url: str, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    monkeypatch.setattr(workers, "RECONCILE_TURN_SECONDS", -1.0)
    monkeypatch.setattr(dispatch, "_PAGE", 2)
    caller, queue = key(database, "chat", Role.CALLER), ReviewQueue(valkey_url, f"again-{home.name}")
    items = [held(database, caller, urgency=float(n)) for n in range(6)]
    clock = HandClock()
    settings = settings_for(home, "http://127.0.0.1:1", valkey_url)
    worker = Worker(settings, database, queue, Metrics(), clock=clock)
    while dispatch.relay(database, queue):
        pass
    for _ in range(5):  # three pages of Valkey's and two of SQL's
        clock.now += 2.0
        worker._round()
    assert worker._pages is not None
    with monkeypatch.context() as during:
        if lost == "Valkey":
            during.setattr(dispatch, "relay", _unreachable)
        else:
            during.setattr(worker._lease, "hold", lambda: False)
        clock.now += 2.0
        worker._round()
    queue.remove_all([item.id for item in items], "acme")
    for _ in range(2 * len(items)):  # in less than the time until Valkey is compared for the next time
        clock.now += 2.0
        worker._round()
    assert queue.depth("acme") == len(items)
    queue.close()


def _unreachable(*_given: object) -> int:
    raise QueueUnreachable("away")
