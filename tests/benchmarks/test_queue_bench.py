"""The queue benchmark's arithmetic: what counts as a double lease, percentiles, arrivals, and its exit status."""

from __future__ import annotations

import asyncio
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import queue
from benchmarks.queue_items import TENANT, fill, grants, people, waiting
from benchmarks.queue_leases import Grant, double_leases, percentile
from benchmarks.queue_reviewers import Held, check, work
from storage import review_reads, reviews
from storage.database import migrate, open_database
from storage.records import VerdictKind
from tests.storage.conftest import VAULT


def grant(token: int, begun: float, ended: float, item: str = "rev_1", holder: str = "Ada") -> Grant:
    return Grant(item, token, holder, begun, ended)


@pytest.mark.parametrize(
    ("record", "found"),
    [
        ([], 0),
        ([grant(1, 0, 4), grant(2, 4, 8), grant(3, 9, 12)], 0),
        ([grant(1, 0, 4), grant(1, 0, 4, item="rev_2")], 0),
        ([grant(1, 0, 4), grant(2, 3.9, 8)], 1),
        ([grant(2, 3.9, 8), grant(1, 0, 4)], 1),  # in whatever order they were told
        ([grant(1, 0, 4), grant(1, 5, 8)], 1),  # a token given twice
        ([grant(1, 0, 10), grant(2, 2, 3), grant(3, 5, 6)], 2),  # both within the first
        ([grant(1, 0, 4), grant(1, 0, 4, holder="Bob")], 1),
    ],
)
def test_double_leases_are_overlaps_and_repeated_tokens(record: list[Grant], found: int) -> None:
    assert double_leases(record) == found


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_a_value_that_the_share_does_not_exceed(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-6
    assert sum(value < found for value in values) < share * len(values) + 1e-6


def test_percentiles_by_hand() -> None:
    assert [percentile([4, 1, 3, 2], share) for share in (0.25, 0.5, 0.99)] == [1, 2, 4]
    assert math.isnan(percentile([], 0.99))


class Counting:
    """A desk that grants at once."""

    def __init__(self) -> None:
        self.held: set[int] = set()
        self.claims = 0

    async def claim(self, reviewer: int) -> Held | None:
        assert reviewer not in self.held
        self.held.add(reviewer)
        self.claims += 1
        return Held(f"rev_{self.claims}", 1, 0.0) if self.claims % 10 else None

    async def approve(self, reviewer: int, held: Held) -> bool:
        return True

    async def give_back(self, reviewer: int, held: Held) -> bool:
        return False


def test_every_arrival_is_accounted_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.queue_reviewers.THINK_SECONDS", 0.001)
    desk = Counting()
    claim = desk.claim

    async def free_again(reviewer: int) -> Held | None:
        desk.held.discard(reviewer)  # it is only called for who is idle
        return await claim(reviewer)

    monkeypatch.setattr(desk, "claim", free_again)
    shift = asyncio.run(work(desk, 50, 400.0, 0.5, random.Random(1)))
    assert len(shift.seconds_to_claim) == desk.claims > 100
    assert len(shift.granted) == desk.claims - shift.done["nothing_waits"]
    ends = ("approved", "refused", "left_to_lapse")
    assert sum(shift.done[end] for end in ends) == len(shift.granted)
    assert all(shift.done[end] for end in ends)


def test_too_few_reviewers_are_refused() -> None:
    check(range(200), 40.0)
    with pytest.raises(ValueError, match="reviewers"):
        check(range(90), 40.0)
    with pytest.raises(SystemExit):
        queue.main(["--reviewers", "1"])


def test_items_wait_as_the_gateway_would_have_recorded_them_and_grants_are_read_back(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/bench.db"
    migrate(url)
    database = open_database(url, VAULT)
    try:
        caller, [(ada, _), (bob, _)] = people(database, 2)
        fill(database, caller, 30, random.Random(1))
        with database.transaction() as conn:
            assert waiting(conn) == 30
            ids = [item.id for item in review_reads.list_items(conn, TENANT)]
            first, _ = reviews.claim_first(conn, ids, ada, 60.0)
            second, _ = reviews.claim_first(conn, ids, bob, 60.0)
            reviews.decide(conn, first.item.id, ada, 1, VerdictKind.APPROVE, "", None)
            told = [(claim.item.id, 1, claim.reviewer_id, claim.expires_at) for claim in (first, second)]
            record = grants(conn, told)
            assert record[0].ended < record[0].begun + 60 <= told[0][3] + 1
            assert (record[1].ended, double_leases(record)) == (told[1][3], 0)
            with pytest.raises(LookupError, match="the log says"):
                grants(conn, [(first.item.id, 1, bob.id, 0.0)])
    finally:
        database.close()


@pytest.mark.parametrize(("double", "status"), [(0, 0), (1, 1)])
def test_a_double_lease_fails_the_benchmark(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], double: int, status: int
) -> None:
    def on(name: str, options: Any) -> dict[str, Any]:
        shift = {"claims": 7, "claim_p99_ms": 9.0 if name == "sqlite" else 11.0, "double_leases": 0}
        return {"http": {**shift, "double_leases": double}, "storage": shift, "rebuilt_items": 5, "rebuild_s": 1.5}

    monkeypatch.setattr(queue, "_on", on)
    monkeypatch.setattr(queue, "configure_logs", lambda level: None)
    assert queue.main(["--json", "--seed", "3", "--items", "5"]) == status
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["items"], told["claims"], told["claim_p99_ms"], told["double_leases"]) == (5, 28, 11.0, 2 * double)
    assert (told["rebuilt_items"], told["rebuild_s"], told["seed"]) == (5, 1.5, 3)
    assert {"by_database", "load", "machine"} <= told.keys()
