"""The schedule follows from its seed, and knows every fault that can be done."""

from pathlib import Path

from tests.faults import embedded, injuries
from tests.faults.ray_faults import RayFaults
from tests.faults.schedule import KINDS, kinds_of, schedule
from tests.serving_process import RunningServing


def test_the_same_seed_gives_the_same_faults_and_another_seed_others():
    kinds = kinds_of(["world"])
    assert schedule(7, 60, kinds) == schedule(7, 60, kinds)
    assert schedule(7, 60, kinds) != schedule(8, 60, kinds)


def test_faults_come_in_order_with_their_steps_inside_the_time():
    faults = schedule(7, 60, KINDS)
    assert [fault.step for fault in faults] == list(range(len(faults)))
    assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
    assert faults[0].at >= 0
    assert faults[-1].at < 60


def test_ten_minutes_hold_two_thousand_faults_of_every_kind_enough():
    faults = schedule(7, 510, KINDS, minutes=10)
    counts = {kind.name: sum(fault.kind == kind.name for fault in faults) for kind in KINDS}
    assert sum(counts.values()) >= 2_000
    assert all(counts[kind.name] >= (5 if kind.kills_ray else 20) for kind in KINDS), counts


def test_a_stage_has_its_own_kinds_only():
    assert {kind.stage for kind in kinds_of(["embedded"])} == {"embedded"}


def test_every_kind_can_be_done_and_nothing_else():
    ray = RayFaults(RunningServing(None, "", Path())).acts  # nothing is struck: it need not run
    assert {*injuries.ACTS, *embedded.ACTS, *ray} == {kind.name for kind in KINDS}
