"""Makes the records of one question: interaction, decision and, where a person is to look, a review item."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from gateway.policy import Ruling, urgency
from gateway.schemas import ChatRequest
from serving.answer import Answer, answer_to_json
from storage.ids import new_id
from storage.records import Action, Decision, Interaction, ItemState, Key, Outcome, Reason, ReviewItem
from storage.storable import content_hash


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asked what, and under which request and trace."""

    wanted: ChatRequest
    key: Key
    request_id: str
    trace_id: str
    traceparent: str
    body_hash: str | None = None  # by which a retry is known; None: by its Idempotency-Key
    retry_count: int = 0  # as the client counted


def outcome_of(asked: Asked, answer: Answer, ruling: Ruling, at: float, *, audited: bool = False) -> Outcome:
    """What is to be recorded; `at` is the database's time in unix seconds. `audited`: it was `drawn`."""
    interaction = interaction_of(asked, answer, ruling, at)
    decision = Decision(
        id=new_id("dec"),
        interaction_id=interaction.id,
        action=ruling.action,
        reason=ruling.reason,
        confidence=ruling.confidence,
        threshold=ruling.threshold,
        calibration_id=answer.confidence.calibration_id,
        policy_id=asked.key.policy.id,
        policy_version=asked.key.policy.version,
        content_hash=interaction.content_hash,
        created_at=at,
        domain=answer.confidence.domain,
        audit_share=ruling.audit_share,
        certificate_id=ruling.certificate_id,
    )
    reviewed = audited or ruling.action is not Action.RELEASE
    item = item_of(asked, answer, ruling, interaction) if reviewed else None
    return Outcome(interaction, decision, item, None)


def interaction_of(asked: Asked, answer: Answer, ruling: Ruling, at: float) -> Interaction:
    return Interaction(
        id=f"chatcmpl-{secrets.token_hex(12)}",
        tenant=asked.key.tenant,
        key_id=asked.key.id,
        model=asked.wanted.model,
        served_model=answer.model,
        messages=tuple(message.plain() for message in asked.wanted.messages),
        params=asked.wanted.params(),
        answer=answer_to_json(answer),
        content_hash=content_hash(answer.text),
        confidence=ruling.confidence,
        calibration_id=answer.confidence.calibration_id,
        created_at=at,
        request_id=asked.request_id,
        trace_id=asked.trace_id,
        traceparent=asked.traceparent,
        metadata=dict(asked.wanted.metadata),
        body_hash=asked.body_hash,
        retry_count=asked.retry_count,
    )


def item_of(asked: Asked, answer: Answer, ruling: Ruling, interaction: Interaction) -> ReviewItem:
    policy, at = asked.key.policy, interaction.created_at
    return ReviewItem(
        id=new_id("rev"),
        interaction_id=interaction.id,
        tenant=interaction.tenant,
        state=ItemState.PENDING,
        version=1,
        urgency=urgency(ruling, policy, at),
        reason=Reason.RANDOM_AUDIT if ruling.action is Action.RELEASE else ruling.reason,
        action=ruling.action,
        domain=answer.confidence.domain or asked.wanted.review.domain,
        created_at=at,
        expires_at=at + policy.review_seconds,
        tier=policy.tier,
        four_eyes=policy.four_eyes,
    )
