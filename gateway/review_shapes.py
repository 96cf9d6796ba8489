"""Knows the wire shapes of the review API: what a desk sends, and what it is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from gateway.errors import bad_request
from gateway.names import Seen
from serving.confidence.calibration import InvalidCalibration, calibration_from_json
from storage.records import Action, Draft, Key, Outcome, ReviewItem, StoredCalibration, Verdict, VerdictKind, Vouched
from storage.storable import is_visible

MAX_TEXT = 1_000_000  # characters of an edited answer or a draft
MAX_NOTE = 10_000
MAX_TOKEN = 2**31 - 1  # what the database counts to
QUESTION_CHARACTERS = 200


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ClaimNext(Strict):
    domain: Seen | None = Field(None, max_length=100)


class Holding(Strict):
    """Proof of a claim."""

    fencing_token: int = Field(ge=0, le=MAX_TOKEN, strict=True)


class DraftRequest(Holding):
    text: str = Field("", max_length=MAX_TEXT)
    note: str = Field("", max_length=MAX_NOTE)


class VerdictRequest(Holding):
    verdict: VerdictKind
    reason: str = Field("", max_length=MAX_NOTE)
    content: str | None = Field(None, max_length=MAX_TEXT)

    def checked(self) -> VerdictRequest:
        """Itself; raises 400 naming the field that this kind of verdict needs or cannot have."""
        if self.verdict is not VerdictKind.APPROVE and not self.reason.strip():
            raise bad_request("reason", f"reason: say why, to {self.verdict.value} an answer.", "reason_required")
        if self.verdict is VerdictKind.EDIT and not is_visible(self.content or ""):
            raise bad_request("content", "content: an edit needs the corrected text.", "content_required")
        if self.verdict is not VerdictKind.EDIT and self.content is not None:
            raise bad_request("content", "content: only an edit carries a text.", "content_not_allowed")
        return self


@dataclass(frozen=True, slots=True)
class Desk:
    """All that is shown of one item, as read in one snapshot."""

    outcome: Outcome  # `vouched` of which counts the opinions too
    item: ReviewItem
    names: Mapping[str, str]  # what people call the keys that asked, claimed and decided it
    own: bool  # the reader asked it, with this key or another
    draft: Draft | None
    signal_ranges: Mapping[str, list[float]]  # each signal's [5 %, 50 %, 95 %]
    policy_name: str
    opinions: Sequence[Verdict] = ()  # what was said without ending it, oldest first
    barred: str | None = None  # why the reader may not claim it


def summary(outcome: Outcome, item: ReviewItem, names: Mapping[str, str], barred: str | None) -> dict[str, Any]:
    return {
        "id": item.id,
        "object": "review",
        "state": item.state.value,
        "action": item.action.value,
        "reason": item.reason.value,
        "model": outcome.interaction.model,
        "domain": item.domain,
        "confidence": outcome.decision.confidence,
        "threshold": outcome.decision.threshold,
        "created_at": item.created_at,
        "urgency": item.urgency,
        "expires_at": item.expires_at,
        "claimed_by": person(item.claimed_by, names) if item.claimed_by else None,
        "claim_expires_at": item.claim_expires_at,
        "tier": item.tier.value,
        "four_eyes": item.four_eyes,
        "barred_by": barred,  # the code that a claim by the reader would be refused with
        "question": last_question(outcome)[:QUESTION_CHARACTERS],
    }


def person(key_id: str, names: Mapping[str, str]) -> dict[str, str]:
    return {"id": key_id, "name": names.get(key_id, "")}


def last_question(outcome: Outcome) -> str:
    asked = [message["content"] for message in outcome.interaction.messages if message["role"] == "user"]
    return str(asked[-1]) if asked else ""


def detail(desk: Desk, reader: Key) -> dict[str, Any]:
    """The whole case; the fencing token is told to the claim's holder alone.

    Who asked sees nothing here of an answer that is withheld from them, whatever other roles their keys have.
    """
    outcome, item = desk.outcome, desk.item
    known = outcome.vouched is Vouched.OURS  # else what is stored may be anybody's words
    withheld = not known or (desk.own and outcome.released_text is None)
    answer = {"text": None, "tokens": []} if withheld else outcome.interaction.answer
    confidence = answer.get("confidence", {})
    held = item.claimed_by == reader.id and item.claim_expires_at is not None
    return {
        **summary(outcome, item, desk.names, desk.barred),
        "interaction_id": item.interaction_id,
        "served_model": outcome.interaction.served_model,
        "messages": list(outcome.interaction.messages),
        "answer": {name: answer.get(name) for name in ("text", "finish_reason", "tokens")},
        "prompt": answer.get("prompt", {}),
        "signals": confidence.get("signals", {}),
        "signal_ranges": desk.signal_ranges,
        "steps": [step_shape(*row) for row in answer.get("steps") or ()],
        "samples": confidence.get("samples", 0),  # further answers that this one was compared with
        "note": confidence.get("note"),  # why there is no confidence, in words
        "calibration": outcome.decision.calibration_id,
        "audit": item.action is Action.RELEASE,  # drawn at random from the answers that left at once
        "policy": {
            "id": outcome.decision.policy_id,
            "version": outcome.decision.policy_version,
            "name": desk.policy_name,
        },
        "claim": {"fencing_token": item.fencing_token, "expires_at": item.claim_expires_at} if held else None,
        "draft": draft_shape(desk.draft),
        "verdict": None if withheld else verdict_shape(outcome.verdict, desk.names),
        "proposal": None if withheld else verdict_shape(proposal(desk), desk.names),
        "opinions": [] if withheld else [verdict_shape(word, desk.names) for word in desk.opinions],
        "trace_id": outcome.interaction.trace_id,
        "vouched": outcome.vouched.value,
    }


def step_shape(start: int, end: int, state: str, why: str) -> dict[str, Any]:
    """A stretch of the answer's characters, and what self-verification says of it."""
    return {"start": start, "end": end, "state": state, "why": why}


def proposal(desk: Desk) -> Verdict | None:
    """The latest text that somebody stood up for, and that waits for a second person who does."""
    texts = [word for word in desk.opinions if word.content_hash is not None]
    return texts[-1] if texts and desk.outcome.verdict is None else None


def draft_shape(draft: Draft | None) -> dict[str, Any] | None:
    return None if draft is None else {"text": draft.text, "note": draft.note, "saved_at": draft.saved_at}


def verdict_shape(verdict: Verdict | None, names: Mapping[str, str]) -> dict[str, Any] | None:
    if verdict is None:
        return None
    return {
        "kind": verdict.kind.value,
        "reason": verdict.reason,
        "content": verdict.content,
        "reviewer": person(verdict.reviewer_id, names),
        "created_at": verdict.created_at,
    }


def signal_ranges(calibration: StoredCalibration | None) -> dict[str, list[float]]:
    """Each signal's usual range as [5 %, 50 %, 95 %]; empty when no calibration tells it."""
    if calibration is None:
        return {}
    try:
        ranges = calibration_from_json(calibration.body).signal_ranges
    except InvalidCalibration:
        return {}
    return {name: list(range_) for name, range_ in ranges.items()}
