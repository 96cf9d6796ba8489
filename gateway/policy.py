"""Decides what happens to an answer, from its confidence, the key's policy and the certificate: no clock, no I/O."""

from __future__ import annotations

import math
from dataclasses import dataclass

from serving.answer import Confidence, FinishReason
from serving.confidence.certificate import Certificate
from storage.certified import CertificateState
from storage.records import Action, Policy, Reason, Tier

HASTE = {Tier.BASE: 1.0, Tier.PRO: 0.7, Tier.ULTRA: 0.5}  # of the time until a reviewer should see an item
AUDIT_SHARE_OF_TIME = 0.9  # of it: whoever asked has the answer, so everything else comes first


@dataclass(frozen=True, slots=True)
class Standing:
    """The certificate that stands for the model that answered, and whether answers are released by it."""

    certificate: Certificate | None  # None: it cannot be read, so nobody knows what it bounds
    state: CertificateState

    @property
    def id(self) -> str | None:
        return None if self.certificate is None else self.certificate.id


@dataclass(frozen=True, slots=True)
class Ruling:
    """The policy's word on one answer, before it becomes a recorded Decision."""

    action: Action
    reason: Reason
    confidence: float | None  # None where it was not a probability
    threshold: float  # the one that counted: the policy's, or the certificate's where that is higher
    certificate_id: str | None = None  # whose threshold it was compared with
    audit_share: float | None = None  # probability with which it is to be drawn for audit; None unless released


def decide(
    confidence: Confidence,
    policy: Policy,
    finish_reason: FinishReason,
    *,
    standing: Standing | None = None,
    calibration_fits: bool = True,
) -> Ruling:
    """Release iff the calibrated confidence reaches the policy's threshold and the certificate's; in doubt, hold.

    An unknown confidence is held whatever the policy does below its threshold: nothing vouches for the answer. So is
    everything while the certificate is suspended or cannot be read, and what no certificate bounds, unless the policy
    says in words that its own threshold is enough. An answer cut off by the token limit counts as one below the
    threshold.
    `calibration_fits` only words the reason: whether a calibration for the answering model was there to be used.
    """
    value = probability(confidence.value)
    if value is None:
        reason = Reason.UNKNOWN_CONFIDENCE if calibration_fits else Reason.UNCALIBRATED
        return Ruling(Action.HOLD, reason, None, policy.threshold)
    if not confidence.calibrated or confidence.calibration_id is None:
        return Ruling(Action.HOLD, Reason.UNCALIBRATED, value, policy.threshold)
    if finish_reason not in ("stop", "length"):  # failed or filtered upstream: the text is not an answer
        return Ruling(Action.HOLD, Reason.UNFINISHED, value, policy.threshold)
    if standing is not None and standing.state is not CertificateState.IN_FORCE:
        return Ruling(Action.HOLD, Reason.DRIFT, value, policy.threshold, standing.id)
    if standing is not None and standing.certificate is None:  # it may bound this very answer: no policy's words help
        return Ruling(Action.HOLD, Reason.UNCERTIFIED, value, policy.threshold)
    certified = certified_threshold(confidence, standing)
    if certified is None and policy.without_certificate is not Action.RELEASE:
        return Ruling(Action.HOLD, Reason.UNCERTIFIED, value, policy.threshold)
    by = None if certified is None or standing is None else standing.id
    threshold = policy.threshold if certified is None else max(policy.threshold, certified)
    if finish_reason == "length":
        return released_if(below(policy), Reason.UNFINISHED, value, threshold, policy, by)
    if not math.isfinite(policy.threshold) or value < threshold:
        return released_if(below(policy), Reason.LOW_CONFIDENCE, value, threshold, policy, by)
    return released_if(Action.RELEASE, Reason.CONFIDENT, value, threshold, policy, by)


def certified_threshold(confidence: Confidence, standing: Standing | None) -> float | None:
    """The least confidence at which release is certified for such an answer; None: at none.

    A certificate is about the confidences of one calibration: it says nothing of those that another one made.
    """
    certificate = None if standing is None else standing.certificate
    if certificate is None or certificate.calibration_id != confidence.calibration_id:
        return None
    bound = certificate.bound(confidence.domain)
    return None if bound is None or bound.threshold is None else probability(bound.threshold)


def released_if(
    action: Action, reason: Reason, value: float, threshold: float, policy: Policy, certificate_id: str | None
) -> Ruling:
    share = policy.audit_share if action is Action.RELEASE else None
    return Ruling(action, reason, value, threshold, certificate_id, share)


def probability(value: float | None) -> float | None:
    """`value` when it is a number in [0, 1], else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0.0 <= value <= 1.0 else None  # NaN compares false


def below(policy: Policy) -> Action:
    return policy.below if policy.below in (Action.FLAG, Action.RELEASE) else Action.HOLD


def urgency(ruling: Ruling, policy: Policy, created_at: float) -> float:
    """Unix seconds by which a reviewer should see the item; lower is sooner.

    A share of the review time: less sure is sooner (an unknown confidence first of all), a higher tier is sooner, and a
    flagged answer, which its caller already has, in half the time of a held one. One that was released and drawn for
    audit comes last. docs/decisions/ says why.
    """
    if ruling.action is Action.RELEASE:
        return created_at + policy.review_seconds * AUDIT_SHARE_OF_TIME
    share = (0.1 + 0.4 * (ruling.confidence or 0.0)) * HASTE[policy.tier]
    return created_at + policy.review_seconds * (share / 2 if ruling.action is Action.FLAG else share)
