"""The policy as a table, and what holds for every confidence there can be."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import policy as rules
from gateway.policy import Ruling, Standing, urgency
from serving.answer import Confidence, FinishReason
from storage.certified import CertificateState
from storage.records import Action, Policy, Reason, Tier
from tests.gateway.certified import certificate

FINISHES: list[FinishReason] = ["stop", "length", "content_filter", "error"]
anything = st.one_of(st.none(), st.floats(), st.integers().map(float))
policies = st.builds(
    Policy,
    id=st.just("pol_1"),
    threshold=st.one_of(st.floats(0, 1), st.just(math.nan)),
    below=st.sampled_from(Action),
    tier=st.sampled_from(Tier),
)


CERTIFIED = Standing(certificate("cal_1", "m@1"), CertificateState.IN_FORCE)  # leaves all to the policy's threshold


def decide(confidence: Confidence, chosen: Policy, finish: FinishReason, **fields: Any) -> Ruling:
    return rules.decide(confidence, chosen, finish, **{"standing": CERTIFIED, **fields})


def sure(value: float | None, calibrated: bool = True) -> Confidence:
    return Confidence(value=value, calibration_id="cal_1" if calibrated else None, calibrated=calibrated)


def policy(below: Action = Action.HOLD, threshold: float = 0.85) -> Policy:
    return Policy(id="pol_1", threshold=threshold, below=below)


@pytest.mark.parametrize(
    ("value", "below", "finish", "action", "reason"),
    [
        (0.85, Action.HOLD, "stop", Action.RELEASE, Reason.CONFIDENT),
        (1.0, Action.HOLD, "stop", Action.RELEASE, Reason.CONFIDENT),
        (0.8499, Action.HOLD, "stop", Action.HOLD, Reason.LOW_CONFIDENCE),
        (0.0, Action.HOLD, "stop", Action.HOLD, Reason.LOW_CONFIDENCE),
        (0.5, Action.FLAG, "stop", Action.FLAG, Reason.LOW_CONFIDENCE),
        (0.5, Action.RELEASE, "stop", Action.RELEASE, Reason.LOW_CONFIDENCE),
        (0.5, Action.ESCALATE, "stop", Action.HOLD, Reason.LOW_CONFIDENCE),
        (0.99, Action.HOLD, "length", Action.HOLD, Reason.UNFINISHED),
        (0.99, Action.FLAG, "length", Action.FLAG, Reason.UNFINISHED),
        (0.99, Action.RELEASE, "length", Action.RELEASE, Reason.UNFINISHED),
        (0.99, Action.RELEASE, "error", Action.HOLD, Reason.UNFINISHED),
        (0.99, Action.RELEASE, "content_filter", Action.HOLD, Reason.UNFINISHED),
        (None, Action.RELEASE, "stop", Action.HOLD, Reason.UNKNOWN_CONFIDENCE),
        (math.nan, Action.RELEASE, "stop", Action.HOLD, Reason.UNKNOWN_CONFIDENCE),
        (1.01, Action.RELEASE, "stop", Action.HOLD, Reason.UNKNOWN_CONFIDENCE),
        (-0.01, Action.RELEASE, "stop", Action.HOLD, Reason.UNKNOWN_CONFIDENCE),
    ],
)
def test_decision_table(
    value: float | None, below: Action, finish: FinishReason, action: Action, reason: Reason
) -> None:
    ruling = decide(sure(value), policy(below), finish)
    assert (ruling.action, ruling.reason) == (action, reason)


@given(anything, policies, st.sampled_from(FINISHES))
def test_nothing_but_a_probability_is_ever_released_or_flagged(
    value: float | None, chosen: Policy, finish: FinishReason
) -> None:
    ruling = decide(sure(value), chosen, finish)
    if value is None or not 0 <= value <= 1:
        assert ruling.action is Action.HOLD
        assert ruling.confidence is None


@given(st.floats(0, 1), policies, st.sampled_from(FINISHES))
def test_uncalibrated_confidence_is_held(value: float, chosen: Policy, finish: FinishReason) -> None:
    assert decide(sure(value, calibrated=False), chosen, finish).action is Action.HOLD


@given(st.floats(0, 1), st.floats(0, 1))
def test_holding_policy_releases_exactly_from_the_threshold_on(value: float, threshold: float) -> None:
    released = decide(sure(value), policy(threshold=threshold), "stop").action is Action.RELEASE
    assert released == (value >= threshold)


def test_no_fitting_calibration_is_named_as_the_reason() -> None:
    assert decide(sure(None), policy(), "stop", calibration_fits=False).reason is Reason.UNCALIBRATED


def test_threshold_that_is_no_number_releases_nothing() -> None:
    assert decide(sure(1.0), policy(threshold=math.nan), "stop").action is Action.HOLD


def test_less_sure_is_more_urgent_and_flagged_before_held() -> None:
    held, flagged = policy(), policy(Action.FLAG)
    low, high = (urgency(decide(sure(value), held, "stop"), held, 0.0) for value in (0.2, 0.8))
    shown = urgency(decide(sure(0.8), flagged, "stop"), flagged, 0.0)
    unknown = urgency(decide(sure(None), held, "stop"), held, 0.0)
    assert unknown < low < high
    assert shown < high


@pytest.mark.parametrize(("tier", "share"), [(Tier.BASE, 1.0), (Tier.PRO, 0.7), (Tier.ULTRA, 0.5)])
@pytest.mark.parametrize(("below", "half"), [(Action.HOLD, 1.0), (Action.FLAG, 0.5)])
def test_urgency_is_a_share_of_the_review_time_by_confidence_tier_and_action(
    tier: Tier, share: float, below: Action, half: float
) -> None:
    chosen = Policy(id="pol_1", below=below, review_seconds=1000.0, tier=tier)
    found = urgency(decide(sure(0.5), chosen, "stop"), chosen, 100.0)
    assert found == pytest.approx(100.0 + 1000.0 * (0.1 + 0.4 * 0.5) * share * half)


@given(anything, policies, st.floats(0, 2e9))
def test_every_item_is_urgent_before_it_expires(value: float | None, chosen: Policy, at: float) -> None:
    ruling = decide(sure(value), chosen, "stop")
    assert at <= urgency(ruling, chosen, at) <= at + chosen.review_seconds
