"""Only a fault that hit something is counted as one; what found nothing to hit is tried again, and then told apart."""

import subprocess
import sys

import pytest

from tests.faults import network_injuries, process_injuries, striking
from tests.faults.processes import Part
from tests.faults.proxy import Proxy
from tests.faults.report import Report
from tests.faults.schedule import Fault
from tests.faults.striking import Missed, OutsideSteps
from tests.faults.world import Member, Wanted, World

FAULT = Fault(1, 0.0, "flush valkey", 0.99, 0.0, 1)


class Act:
    """Raises what it was given, one after the other; after that it hits."""

    def __init__(self, *raising: Exception) -> None:
        self.raising = list(raising)
        self.calls = 0

    async def __call__(self, world: World, fault: Fault) -> str:
        self.calls += 1
        if self.raising:
            raise self.raising.pop(0)
        return "it"


@pytest.fixture
def world(tmp_path):
    return World(Wanted(tmp_path))


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(striking, "AGAIN_SECONDS", 0.0)


async def test_what_is_hit_when_tried_again_counts(world):
    report, act = Report(1), Act(*(Missed("nobody") for _ in range(striking.TRIES - 1)))
    assert await striking.strike(world, FAULT, report, act) == "it"
    assert (report.struck, report.missed, act.calls) == ([(FAULT, "it")], [], striking.TRIES)


async def test_what_never_hits_is_missed_and_no_fault(world):
    report = Report(1)
    await striking.strike(world, FAULT, report, Act(*(Missed("nobody") for _ in range(striking.TRIES))))
    assert (report.struck, report.missed, report.failed) == ([], [(FAULT, "nobody")], [])
    assert report.kinds.total() == 0


async def test_a_death_outside_any_step_is_counted_apart_and_not_repeated(world):
    report, act = Report(1), Act(OutsideSteps("worker-0"))
    await striking.strike(world, FAULT, report, act)
    assert (report.struck, report.missed, report.outside_steps) == ([], [], [(FAULT, "worker-0")])
    assert act.calls == 1


async def test_what_did_not_come_back_is_a_failure(world):
    report = Report(1)
    await striking.strike(world, FAULT, report, Act(TimeoutError("it is not back")))
    assert [fault for fault, _ in report.failed] == [FAULT]
    assert report.struck == []


@pytest.mark.parametrize("kind", network_injuries.ACTS | network_injuries.SERVING_ACTS)
async def test_where_nobody_is_connected_nothing_is_cut_delayed_or_lost(world, kind):
    way = await Proxy("way", ("127.0.0.1", 1)).start()
    part = Part("gateway", (), {}, world.wanted.home, world.wanted.home / "log")
    world.gateways.append(Member(part, way, way, world.wanted.home / "die", entrance=way, serving=way))
    act = (network_injuries.ACTS | network_injuries.SERVING_ACTS)[kind]
    with pytest.raises(Missed):
        await act(world, FAULT)
    await way.stop()


async def test_a_process_that_is_dead_is_neither_killed_nor_stopped(world):
    part = Part("gone", (sys.executable, "-c", ""), {}, world.wanted.home, world.wanted.home / "log")
    part.start()
    assert isinstance(part.process, subprocess.Popen)
    part.process.wait()
    with pytest.raises(Missed):
        await process_injuries.kill(part)
    with pytest.raises(Missed):
        async with process_injuries.stopped(part):
            pytest.fail("nothing was stopped")


def test_nothing_to_aim_at_is_a_miss():
    assert striking.aimed(FAULT, ["a", "b"]) == "b"
    with pytest.raises(Missed):
        striking.aimed(FAULT, [])
