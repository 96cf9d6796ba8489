"""The watch: what it stakes, when it alarms, and that it seldom does so for nothing."""

import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy.stats import binomtest

from serving.confidence.eprocess import BETS, Watch, watch_from_json, watch_to_json

ALPHA, DELTA = 0.15, 0.05


def watched(outcomes: list[bool], watch: Watch | None = None) -> Watch:
    watch = watch or Watch()
    for wrong in outcomes:
        watch = watch.after(wrong, ALPHA)
    return watch


def test_a_watch_begins_with_a_wealth_of_one() -> None:
    assert Watch().wealth == pytest.approx(1.0)
    assert Watch().audited == 0


def test_wealth_is_what_the_stakes_have_become() -> None:
    """By hand: half is staked from the start, half in parts ½(1/√t − 1/√(t+1)) after audit t."""
    outcomes = [True, False, True, True, False, False, True]
    stakes = [(0, 0.5)] + [(t, 0.5 / math.sqrt(t) - 0.5 / math.sqrt(t + 1)) for t in range(1, 8)]
    expected = 0.5 / math.sqrt(8)
    for begun, stake in stakes:
        for bet in BETS:
            expected += stake / 5 * math.prod(1 + bet * (wrong - ALPHA) for wrong in outcomes[begun:])
    assert watched(outcomes).wealth == pytest.approx(expected, rel=1e-12)
    assert watched(outcomes).audited == 7


@given(
    outcomes=some.lists(some.booleans(), max_size=30),
    alpha=some.floats(0.01, 0.99),
    weight=some.floats(0.01, 1.0),
)
def test_no_bet_gains_in_expectation_at_the_allowed_risk(outcomes: list[bool], alpha: float, weight: float) -> None:
    watch = Watch()
    for wrong in outcomes:
        watch = watch.after(wrong, alpha, weight)
    worse, better = watch.after(True, alpha, weight).wealth, watch.after(False, alpha, weight).wealth
    assert alpha * worse + (1 - alpha) * better == pytest.approx(watch.wealth, rel=1e-9)
    assert 0.0 < better < worse


def test_false_alarms_stay_within_delta_at_the_allowed_risk() -> None:
    draws, runs, alarms = random.Random(2), 200, 0
    for _ in range(runs):
        watch = Watch()
        for _ in range(400):
            watch = watch.after(draws.random() < ALPHA, ALPHA)
            if watch.alarmed(DELTA):
                alarms += 1
                break
    assert binomtest(alarms, runs, DELTA, alternative="greater").pvalue > 0.01


def test_unequal_chances_of_audit_are_weighed() -> None:
    """Right answers are audited at 5 %, wrong ones of a tier at 20 %: unweighted, the audits look twice as bad."""
    draws = random.Random(4)
    watch, naive = Watch(), Watch()
    for _ in range(40_000):
        careful = draws.random() < 0.5
        wrong = draws.random() < (0.25 if careful else 0.03)  # 14 % in all
        if draws.random() < (0.2 if careful else 0.05):
            naive = naive.after(wrong, ALPHA)
            watch = watch.after(wrong, ALPHA, weight=0.25 if careful else 1.0)
    assert naive.alarmed(DELTA)
    assert not watch.alarmed(DELTA)


def test_a_doubled_risk_raises_the_alarm_also_after_a_long_quiet_time() -> None:
    draws = random.Random(6)
    quiet = watched([draws.random() < 0.12 for _ in range(1000)])
    assert not quiet.alarmed(DELTA)
    assert watched([draws.random() < 0.3 for _ in range(300)], quiet).alarmed(DELTA)


def test_wealth_beyond_every_float_is_still_an_alarm() -> None:
    ruined = watched([True] * 3000)
    assert ruined.wealth == math.inf
    assert ruined.alarmed(1e-12)
    assert watch_from_json(json.loads(json.dumps(watch_to_json(ruined), allow_nan=False))) == ruined


def test_a_very_long_quiet_time_leaves_a_sane_state() -> None:
    quiet = watched([False] * 20_000)
    assert 0.0 < quiet.wealth < 0.01
    assert all(math.isfinite(log) for log in quiet.log_wealths)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "log_wealths"),
        ({"log_wealths": [0.0] * 4, "audited": 1}, "log_wealths"),
        ({"log_wealths": [0.0, 0.0, 0.0, 0.0, float("nan")], "audited": 1}, "log_wealths"),
        ({"log_wealths": [True] * 5, "audited": 1}, "log_wealths"),
        ({"log_wealths": [0.0] * 5, "audited": -1}, "audited"),
        ({"log_wealths": [0.0] * 5, "audited": 1.5}, "audited"),
    ],
)
def test_a_state_that_cannot_be_is_refused_by_name(body: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        watch_from_json(body)


@pytest.mark.parametrize(
    ("alpha", "weight", "named"), [(0.0, 1.0, "alpha"), (0.2, 0.0, "weight"), (0.2, 2.0, "weight")]
)
def test_arguments_out_of_range_are_named(alpha: float, weight: float, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Watch().after(True, alpha, weight)
