"""What the certificate adds to the policy: nothing leaves that it does not bound, but where the policy says so."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy import Standing, decide, urgency
from gateway.random_audit import draw_secretly, drawn
from gateway.standing import standing_of
from serving.answer import Confidence, FinishReason
from serving.confidence.certificate import certificate_to_json
from storage.certified import CertificateState, StoredCertificate
from storage.records import Action, Policy, Reason
from tests.gateway.certified import certificate

FORCE, SUSPENDED = CertificateState.IN_FORCE, CertificateState.SUSPENDED
THRESHOLDS = {"sums": 0.9, "rates": 0.5, "clocks": None, "": 0.95}
HELD, OUT = Action.HOLD, Action.RELEASE


def confidence(value: float, domain: str | None = "sums", calibration: str = "cal_1") -> Confidence:
    return Confidence(value=value, calibration_id=calibration, calibrated=True, domain=domain)


def standing(state: CertificateState = FORCE, **fields: object) -> Standing:
    return Standing(certificate("cal_1", "m@1", THRESHOLDS, **fields), state)  # type: ignore[arg-type]


def policy(**fields: object) -> Policy:
    return Policy(id="pol_1", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "domain", "action", "reason", "threshold"),
    [
        (0.90, "sums", OUT, Reason.CONFIDENT, 0.9),
        (0.89, "sums", HELD, Reason.LOW_CONFIDENCE, 0.9),  # above the policy's own threshold
        (0.85, "rates", OUT, Reason.CONFIDENT, 0.85),  # the policy is the stricter one
        (0.84, "rates", HELD, Reason.LOW_CONFIDENCE, 0.85),
        (0.95, None, OUT, Reason.CONFIDENT, 0.95),
        (0.94, None, HELD, Reason.LOW_CONFIDENCE, 0.95),
        (1.00, "clocks", HELD, Reason.UNCERTIFIED, 0.85),  # labelled, and nothing certified
        (1.00, "poems", HELD, Reason.UNCERTIFIED, 0.85),  # never labelled
    ],
)
def test_release_needs_the_threshold_of_policy_and_of_the_domains_certificate(
    value: float, domain: str | None, action: Action, reason: Reason, threshold: float
) -> None:
    ruling = decide(confidence(value, domain), policy(), "stop", standing=standing())
    assert (ruling.action, ruling.reason, ruling.threshold) == (action, reason, threshold)


@pytest.mark.parametrize("chosen", list(Action))
def test_what_nothing_certifies_is_held_whatever_the_policy_does_below_its_threshold(chosen: Action) -> None:
    for certified in (None, standing()):
        ruling = decide(confidence(0.99, "poems"), policy(below=chosen), "stop", standing=certified)
        assert (ruling.action, ruling.reason) == (HELD, Reason.UNCERTIFIED)


def test_certificate_of_another_calibration_certifies_nothing() -> None:
    ruling = decide(confidence(0.99, calibration="cal_2"), policy(), "stop", standing=standing())
    assert (ruling.action, ruling.reason, ruling.certificate_id) == (HELD, Reason.UNCERTIFIED, None)


@pytest.mark.parametrize(("value", "reason"), [(0.86, Reason.CONFIDENT), (0.84, Reason.LOW_CONFIDENCE)])
def test_policy_may_say_in_words_that_its_threshold_is_enough(value: float, reason: Reason) -> None:
    worded = policy(without_certificate=OUT)
    ruling = decide(confidence(value, "poems"), worded, "stop", standing=standing())
    assert ruling.reason is reason
    assert (ruling.certificate_id, ruling.threshold) == (None, 0.85)  # not released by the certificate
    certified = decide(confidence(0.86, "sums"), worded, "stop", standing=standing())
    assert certified.reason is Reason.LOW_CONFIDENCE  # where there is a bound, it holds


@pytest.mark.parametrize("broken", [{}, {"made_at": math.nan}, {"alpha": 0.5}])
@pytest.mark.parametrize("chosen", list(Action))
def test_certificate_that_cannot_be_read_holds_under_every_policy(chosen: Action, broken: dict[str, float]) -> None:
    body = {**certificate_to_json(certificate("cal_1", "m@1", THRESHOLDS)), **broken} if broken else {}
    for state, reason in ((SUSPENDED, Reason.DRIFT), (FORCE, Reason.UNCERTIFIED)):
        stands = standing_of(StoredCertificate("crt_1", "m@1", "cal_1", body, state, 1.0))
        for finish in ("stop", "length"):
            worded = policy(without_certificate=OUT, below=chosen, threshold=0.1)
            ruling = decide(confidence(0.99), worded, finish, standing=stands)  # type: ignore[arg-type]
            assert (ruling.action, ruling.reason, ruling.audit_share) == (HELD, reason, None)


def test_certificate_in_another_ones_row_holds_too() -> None:
    body = certificate_to_json(certificate("cal_1", "m@1", THRESHOLDS))
    own = StoredCertificate(body["id"], "m@1", "cal_1", body, FORCE, 1.0)
    assert decide(confidence(0.99), policy(), "stop", standing=standing_of(own)).action is OUT
    other = standing_of(dataclasses.replace(own, model="m@2"))
    ruling = decide(confidence(0.99), policy(without_certificate=OUT), "stop", standing=other)
    assert (ruling.action, ruling.reason) == (HELD, Reason.UNCERTIFIED)


@given(
    st.floats(0, 1),
    st.sampled_from(["sums", "clocks", "poems", None]),
    st.builds(
        Policy,
        id=st.just("pol_1"),
        threshold=st.floats(0, 1),
        below=st.sampled_from(Action),
        without_certificate=st.sampled_from([HELD, OUT]),
        audit_share=st.floats(0, 1),
    ),
    st.sampled_from(["stop", "length", "content_filter", "error"]),
    st.sampled_from(["cal_1", "cal_2"]),
)
def test_nothing_leaves_while_the_certificate_is_suspended(
    value: float, domain: str | None, chosen: Policy, finish: FinishReason, calibration: str
) -> None:
    ruling = decide(confidence(value, domain, calibration), chosen, finish, standing=standing(SUSPENDED))
    assert ruling.action is HELD
    assert ruling.reason in (Reason.DRIFT, Reason.UNFINISHED)
    assert ruling.audit_share is None


@pytest.mark.parametrize(
    ("certified", "reason"), [(standing(SUSPENDED), Reason.DRIFT), (None, Reason.UNCERTIFIED), (standing(), None)]
)
def test_unknown_confidence_stays_unknown_whatever_stands(certified: Standing | None, reason: Reason | None) -> None:
    for value in (None, math.nan, 2.0):
        unknown = Confidence(value=value, calibration_id="cal_1", calibrated=True, domain="sums")
        ruling = decide(unknown, policy(without_certificate=OUT, below=OUT), "stop", standing=certified)
        assert (ruling.action, ruling.reason, ruling.audit_share) == (HELD, Reason.UNKNOWN_CONFIDENCE, None)


def test_only_what_leaves_unread_has_a_share_of_audits() -> None:
    chosen = policy(audit_share=0.25)
    released = decide(confidence(0.95), chosen, "stop", standing=standing())
    held = decide(confidence(0.5), chosen, "stop", standing=standing())
    flagged = decide(confidence(0.5), policy(audit_share=0.25, below=Action.FLAG), "stop", standing=standing())
    let_out = decide(confidence(0.5), policy(audit_share=0.25, below=OUT), "stop", standing=standing())
    assert [ruling.audit_share for ruling in (released, held, flagged, let_out)] == [0.25, None, None, 0.25]
    assert not drawn(held, lambda: 0.0)
    assert drawn(released, lambda: 0.2499)
    assert not drawn(released, lambda: 0.25)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (1.0, 500)])
def test_share_of_nothing_draws_nobody_and_of_one_everybody(share: float, expected: int) -> None:
    ruling = decide(confidence(0.95), policy(audit_share=share), "stop", standing=standing())
    assert sum(drawn(ruling, draw_secretly) for _ in range(500)) == expected


def test_audits_come_after_everything_that_somebody_waits_for() -> None:
    chosen = policy()
    audit = urgency(decide(confidence(0.99), chosen, "stop", standing=standing()), chosen, 0.0)
    surest = urgency(decide(confidence(1.0, "poems"), chosen, "stop", standing=standing()), chosen, 0.0)
    assert surest < audit < chosen.review_seconds
