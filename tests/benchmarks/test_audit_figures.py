"""The audit log's benchmark: its figures are sums over the right things, and its log has what its pages ask for."""

from __future__ import annotations

import random
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from benchmarks import audit_made, audit_pages, audit_released, audit_verified
from benchmarks.audit import by_figure
from benchmarks.audit_verified import NotIntact
from storage.audit_log import NewEvent
from storage.checkpoint_file import CheckpointFile
from storage.checkpoints import Signer, new_signing_key
from storage.database import Database, migrate, open_database
from storage.subjects import Subject
from storage.vault import new_key, new_master_key, vault_from

END = 1.8e9


def _events(count: int) -> list[NewEvent]:
    cast = audit_made.Cast(("key_1", "key_2"), ("key_3",), (Subject("sub_1", new_key()),))
    return list(islice(audit_made._stories(random.Random(1), cast, count, END), count))


def test_two_thirds_of_the_events_are_of_answers_that_nobody_reviewed() -> None:
    events = _events(30_000)
    reviewed = {event.interaction_id for event in events if event.item_id is not None}
    of_reviews = sum(event.interaction_id in reviewed for event in events)
    assert 0.31 < of_reviews / len(events) < 0.36


def test_events_are_spread_over_half_a_year_and_none_lies_ahead() -> None:
    times = [event.at or 0.0 for event in _events(30_000)]
    assert min(times) == END - audit_made.SPREAD_SECONDS
    assert END - 86_400 < max(times) <= END


def test_marks_are_those_of_the_product() -> None:
    kinds = Counter(event.kind for event in _events(30_000))
    assert kinds["interaction.recorded"] == pytest.approx(kinds["decision"], abs=1)
    assert kinds["review.claimed"] == pytest.approx(kinds["review.created"], abs=1)
    assert {"review.approved", "review.edited", "review.rejected", "review.referred"} <= set(kinds)


def test_leaf_is_sealed_when_the_turn_that_holds_it_is_committed() -> None:
    sealer = audit_released.Sealer(None, None, None, sizes=[10, 25], times=[1.0, 2.5])  # type: ignore[arg-type]
    assert [sealer.sealed_at(leaf) for leaf in (0, 9, 10, 24)] == [1.0, 1.0, 2.5, 2.5]


def test_figures_are_told_by_database() -> None:
    found = {"sqlite": {"verify_s": 1.0, "pages": {"kind": 2.0}}, "postgresql": {"verify_s": 3.0, "pages": {}}}
    assert by_figure(found) == {
        "verify_s": {"sqlite": 1.0, "postgresql": 3.0},
        "pages": {"sqlite": {"kind": 2.0}, "postgresql": {}},
    }


def test_small_log_is_made_read_and_added_to(tmp_path: Path) -> None:
    database = _database(tmp_path)
    signer, outside, told = Signer(new_signing_key()), CheckpointFile(tmp_path / "outside"), Counter[str]()
    audit_made.make(database, signer, outside, 700, 1, lambda doing, events: told.update({doing: events}))
    assert told == {"append": 700, "seal": 700 + 8}  # an event in each month, for its partition
    assert set(audit_pages.page_p99_ms(database, 1, pages=4)) >= {"none", "kinds", "trace_id", "confidences"}
    released = audit_released.measure(database, signer, outside, 0.01, 1)
    assert released["append_per_s"] > 0
    database.close()
    (key := tmp_path / "verify.pub").write_text(signer.public)
    verified = audit_verified.verify(f"sqlite:///{tmp_path}/log.db", key, outside.path)
    assert verified.events > 700
    assert 5 < (verified.peak_mb or 0.0) < 500
    key.write_text(Signer(new_signing_key()).public)
    with pytest.raises(NotIntact, match="of another log"):
        audit_verified.verify(f"sqlite:///{tmp_path}/log.db", key, outside.path)


def _database(folder: Path) -> Database:
    url = f"sqlite:///{folder}/log.db"
    migrate(url)
    return open_database(url, vault_from(new_master_key()))
