"""Decides what happens to an answer, from its confidence and the key's policy alone: no clock, no I/O."""

from __future__ import annotations

import math
from dataclasses import dataclass

from serving.answer import Confidence, FinishReason
from storage.records import Action, Policy, Reason, Tier

HASTE = {Tier.BASE: 1.0, Tier.PRO: 0.7, Tier.ULTRA: 0.5}  # of the time until a reviewer should see an item


@dataclass(frozen=True, slots=True)
class Ruling:
    """The policy's word on one answer, before it becomes a recorded Decision."""

    action: Action
    reason: Reason
    confidence: float | None  # None where it was not a probability
    threshold: float


def decide(
    confidence: Confidence, policy: Policy, finish_reason: FinishReason, *, calibration_fits: bool = True
) -> Ruling:
    """Release iff the calibrated confidence reaches the threshold; in doubt, hold.

    An unknown confidence is held whatever the policy does below its threshold: nothing vouches for the answer.
    An answer cut off by the token limit counts as one below the threshold. `calibration_fits` only words the reason:
    whether a calibration for the answering model was there to be used.
    """
    value = probability(confidence.value)
    if value is None:
        reason = Reason.UNKNOWN_CONFIDENCE if calibration_fits else Reason.UNCALIBRATED
        return Ruling(Action.HOLD, reason, None, policy.threshold)
    if not confidence.calibrated or confidence.calibration_id is None:
        return Ruling(Action.HOLD, Reason.UNCALIBRATED, value, policy.threshold)
    if finish_reason not in ("stop", "length"):  # failed or filtered upstream: the text is not an answer
        return Ruling(Action.HOLD, Reason.UNFINISHED, value, policy.threshold)
    if finish_reason == "length":
        return Ruling(below(policy), Reason.UNFINISHED, value, policy.threshold)
    if not math.isfinite(policy.threshold) or value < policy.threshold:
        return Ruling(below(policy), Reason.LOW_CONFIDENCE, value, policy.threshold)
    return Ruling(Action.RELEASE, Reason.CONFIDENT, value, policy.threshold)


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
    flagged answer, which its caller already has, in half the time of a held one. docs/decisions/ says why.
    """
    share = (0.1 + 0.4 * (ruling.confidence or 0.0)) * HASTE[policy.tier]
    return created_at + policy.review_seconds * (share / 2 if ruling.action is Action.FLAG else share)
