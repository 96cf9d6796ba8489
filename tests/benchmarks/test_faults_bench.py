"""The figures of the fault benchmark say what the reports hold, and what is asked for must be there."""

import pytest

from benchmarks import faults
from tests.faults.evidence import Violation
from tests.faults.history import Accepted, Acknowledged, History
from tests.faults.report import Report
from tests.faults.schedule import Fault
from tests.mutations.catalogue import BY_NAME as MECHANISMS


def reported(*violations: Violation, **facts: object) -> Report:
    history = History()
    for number, via in enumerate(("ray", "instant", "instant", "instant")):
        history.add(Acknowledged(f"c{number}", f"q{number}", None, 200, "hold", f"rev{number}", 0.5, via))
    history.add(Acknowledged("c0", "q0", None, 200, "hold", "rev0", 0.5, "ray"))  # told twice, one record
    history.add(Accepted("rev0", 1, "ada", "approve", 0.0, True))
    history.add(Accepted("rev1", 1, "ada", "refer", 0.0, False))
    struck = [(Fault(step, 0.0, kind, 0.0, 0.0, 1), "it") for step, kind in enumerate(("kill rank", "cut callers"))]
    return Report(5, struck=struck, history=history, violations=list(violations), **facts)


def test_faults_acknowledgements_and_final_verdicts_are_counted_once():
    figures = faults._figures([reported()], 5)
    assert figures["faults"] == 2
    assert figures["kinds"] == {"kill rank": 1, "cut callers": 1}
    assert (figures["ray_kills"], figures["acknowledged"], figures["verdicts"]) == (1, 4, 1)
    assert figures["through_ray"] == 0.25
    assert set(figures["violations"].values()) == {0}


def test_it_is_told_between_which_steps_parts_died():
    report = reported()
    fault = Fault(9, 0.0, "kill worker at a durable step", 0.0, 0.0, 7)
    where = "before COMMIT of UPDATE leases"
    report.struck += [(fault, f"worker-0 {where}, step 7"), (fault, f"worker-1 {where}, step 2")]
    report.crash_points = [where, "after fsync"]
    assert faults._figures([report], 5)["died_at"] == {where: 3, "after fsync": 1}


def test_what_struck_nothing_is_no_fault_and_is_told_by_kind():
    report = reported()
    report.missed = [(Fault(8, 0.0, "flush valkey", 0.0, 0.0, 1), "Valkey was away")]
    report.outside_steps = [(Fault(9, 0.0, "kill worker at a durable step", 0.0, 0.0, 1), "worker-0")]
    figures = faults._figures([report], 5)
    assert (figures["faults"], figures["kinds"]) == (2, {"kill rank": 1, "cut callers": 1})
    assert figures["missed"] == {"flush valkey": 1}
    assert figures["outside_steps"] == {"kill worker at a durable step": 1}


def test_lives_that_were_cut_short_are_counted_with_those_that_went_on():
    figures = faults._figures([reported(crash_points=["after fsync"], unfinished_lives=["step 4"])], 5)
    assert figures["crash_points"] == {"killed": 2, "survived": 1}


def test_violations_are_counted_by_invariant_and_by_what_they_mean():
    lost = Violation("I1", "acknowledged and not recorded", ("c1",), "lost")
    double = Violation("I3", "several final verdicts", ("rev1",), "double verdict")
    figures = faults._figures([reported(lost), reported(double)], 5)
    assert (figures["lost"], figures["double_verdicts"], figures["released_unreviewed"]) == (1, 1, 0)
    assert (figures["violations"]["I1"], figures["violations"]["I3"], figures["violations"]["I2"]) == (1, 1, 0)


@pytest.mark.parametrize(
    ("report", "more"),
    [
        (reported(Violation("I5", "no event", ("rev1",))), {}),
        (reported(), {"unfenced_violations": 0}),
        (reported(log_trouble="exit 1: altered"), {}),
        (reported(left_open=1), {}),
        (reported(unexpected=["q1: 400 {}"]), {}),
        (reported(failed=[(Fault(9, 0.0, "kill gateway", 0.0, 0.0, 1), "it did not come back")]), {}),
        (reported(unfinished_lives=["step 4"]), {}),
    ],
)
def test_a_run_that_was_not_sound_says_so(report, more):
    figures = {**faults._figures([report], 5), **more}
    assert not faults._sound(figures, report.violations, [report])


def test_a_sound_run_saw_what_the_lack_of_fencing_does():
    figures = {**faults._figures([reported()], 5), "unfenced_violations": 1}
    assert faults._sound(figures, [], [reported()])


def test_a_mechanism_that_nobody_knows_is_refused_by_name(capsys):
    with pytest.raises(SystemExit, match="2"):
        faults.main(["--without", "hope"])
    assert "hope" in capsys.readouterr().err


@pytest.mark.parametrize("mechanism", ["verified_schema", "waiting_events"])
def test_a_mechanism_that_no_gateway_or_worker_runs_is_refused_with_its_file(capsys, mechanism):
    with pytest.raises(SystemExit, match="2"):
        faults.main(["--without", mechanism])
    told = capsys.readouterr().err
    assert f"--without {mechanism}: no gateway and no worker runs" in told
    assert MECHANISMS[mechanism].edits[0].file in told


def test_mechanisms_of_the_review_are_offered():
    assert {"fencing", "compare_and_set", "record_before_release"} <= set(faults.SEEN)
