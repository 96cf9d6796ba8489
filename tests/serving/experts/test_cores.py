"""Ranks of a gang have cores of their own, as long as there are enough."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from serving.engine.local import local_engine
from serving.experts.cores import cores_of, keep_to_own_cores


@pytest.mark.parametrize("places", [1, 2, 3, 5])
def test_all_cores_are_shared_out_without_overlap(places: int) -> None:
    available = [2, 3, 5, 8, 9]
    shares = [cores_of(number, places, available) for number in range(places)]
    assert sorted(core for share in shares for core in share) == available


def test_with_fewer_cores_than_ranks_each_has_one() -> None:
    assert [cores_of(number, 5, [4, 7]) for number in range(5)] == [{4}, {7}, {4}, {7}, {4}]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one core")
def test_two_ranks_do_not_run_on_the_same_core(tiny_checkpoint: Path) -> None:
    with local_engine(tiny_checkpoint, ranks=2) as engine:
        one, other = (os.sched_getaffinity(report.pid) for report in engine.reports)
    assert not one & other
    assert one | other == os.sched_getaffinity(0)


def test_where_the_system_refuses_ranks_go_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(process: int, cores: set[int]) -> None:
        raise PermissionError("not permitted here")

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    assert not keep_to_own_cores(0, 2)
    assert "not permitted here" in caplog.text


def test_a_rank_alone_is_left_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[set[int]] = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: asked.append(cores))
    assert keep_to_own_cores(0, 1)
    assert asked == []
    assert not keep_to_own_cores(0, 10_000)  # it shares its core
    assert len(asked) == 1
