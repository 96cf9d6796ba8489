"""A short run of the fault harness on the real processes: the instant model stands in for Ray, the seed is fixed."""

import pytest

from tests.faults import stages
from tests.faults.lives import QUIET_LIVES
from tests.faults.report import Report
from tests.faults.stages import Plan
from tests.faults.trial import Load

SEED = 20_261_124
WORLD_SECONDS, EMBEDDED_SECONDS = 18.0, 7.0
SLOW = ("stop worker", "stop gateway", "promote lagging replica")  # seconds each: they belong to the long run
LOAD = Load(instant_callers=8, reviewers=6, pause=0.05)


def sound(report: Report) -> None:
    assert report.violations == []
    assert report.log_trouble == ""
    assert report.unexpected == []
    assert report.left_open == 0
    assert report.failed == []


@pytest.mark.timeout(240)
def test_under_a_minute_of_faults_nothing_is_lost_and_nothing_leaves_unreviewed():
    plan = Plan(SEED, WORLD_SECONDS, leave_out=SLOW)
    report = stages.world_stage(plan, ray=False, load=LOAD)
    sound(report)
    assert len(report.struck) + len(report.missed) + len(report.outside_steps) >= 60  # on a busy machine more miss
    assert len(report.struck) >= 25
    assert len(report.kinds) >= 15
    assert report.kinds.keys() >= {"kill postmaster", "kill replica valkey"}
    assert report.acknowledged.total() > 0
    assert report.verdicts > 0
    assert report.probes > 0


@pytest.mark.timeout(240)
def test_the_embedded_gateway_survives_a_full_disk_a_locked_file_and_kills():
    report, small_disk = stages.embedded_stage(Plan(SEED, EMBEDDED_SECONDS, intensity=2.0))
    sound(report)
    assert ("fill the disk" in report.kinds) == small_disk
    assert report.kinds.keys() >= {"lock the database file", "kill the embedded gateway"}
    assert report.acknowledged.total() > 0


@pytest.mark.timeout(240)
def test_a_life_goes_on_wherever_among_its_durable_steps_the_gateway_is_killed():
    report = stages.crash_point_stage(Plan(SEED, 0.0), every=7)  # ./run bench faults takes every step
    sound(report)
    assert report.unfinished_lives == []
    assert len(report.crash_points) >= 2
    assert report.acknowledged.total() >= len(report.crash_points) + QUIET_LIVES
