"""Review items as the dashboard sees them: the gateway's JSON, read once into frozen facts."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from storage.records import OPEN_STATES, Action, ItemState, VerdictKind


class StepState(StrEnum):
    """What self-verification found of a step."""

    VALID = "valid"  # it holds
    INVALID = "invalid"  # it does not
    UNKNOWN = "unknown"  # nothing can be said of it


@dataclass(frozen=True, slots=True)
class Person:
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Summary:
    """One row of the queue."""

    id: str
    state: ItemState
    action: str
    reason: str
    model: str
    domain: str | None
    confidence: float | None
    threshold: float | None
    created_at: float
    urgency: float
    expires_at: float
    claimed_by: Person | None
    claim_expires_at: float | None
    question: str
    tier: str = "base"
    four_eyes: bool = False  # two people must agree on a text
    barred_by: str | None = None  # the code with which a claim by this reader would be refused

    @property
    def is_open(self) -> bool:
        return self.state in OPEN_STATES

    @property
    def delivered(self) -> bool:
        """Whether the caller had the answer before anybody reviewed it."""
        return self.action in (Action.FLAG, Action.RELEASE)


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token; `alternatives` are (text, log-probability), best first."""

    text: str
    logprob: float
    alternatives: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Step:
    """A stretch of the answer's characters, and what self-verification says of it."""

    start: int
    end: int
    state: StepState
    why: str


@dataclass(frozen=True, slots=True)
class HeldClaim:
    fencing_token: int
    expires_at: float


@dataclass(frozen=True, slots=True)
class SavedDraft:
    text: str
    note: str
    saved_at: float


@dataclass(frozen=True, slots=True)
class GivenVerdict:
    kind: VerdictKind
    reason: str
    content: str | None
    reviewer: Person
    created_at: float


@dataclass(frozen=True, slots=True)
class Review:
    """Everything about one item that its reviewer may see."""

    summary: Summary
    interaction_id: str
    messages: tuple[dict[str, Any], ...]
    text: str  # the exact bytes that an approval releases
    finish_reason: str
    tokens: tuple[Token, ...]
    signals: dict[str, float | None]
    signal_ranges: dict[str, tuple[float, float, float]]  # 5th, 50th, 95th percentile of answers that were right
    calibration: str | None
    served_model: str  # the checkpoint that answered
    note: str | None  # why there is no confidence, in words
    policy_name: str
    claim: HeldClaim | None  # only when it is mine
    draft: SavedDraft | None
    verdict: GivenVerdict | None
    trace_id: str | None
    proposal: GivenVerdict | None = None  # the text that waits for a second person who agrees
    opinions: tuple[GivenVerdict, ...] = ()  # what was said without ending it, oldest first
    steps: tuple[Step, ...] = ()  # as self-verification saw them, in the order of the text
    samples: int = 0  # further answers that this one was compared with
    audit: bool = False  # drawn at random from the answers that left on their own confidence


@dataclass(frozen=True, slots=True)
class ReviewPage:
    rows: tuple[Summary, ...]
    next: str | None
    counts: dict[str, int] = field(default_factory=dict)


def person(data: dict[str, Any] | None) -> Person | None:
    return Person(str(data["id"]), str(data.get("name") or data["id"])) if data else None


def summary(data: dict[str, Any]) -> Summary:
    """Raises KeyError, TypeError or ValueError when the gateway's answer is not a review."""
    return Summary(
        id=data["id"],
        state=ItemState(data["state"]),
        action=data["action"],
        reason=data["reason"],
        model=data["model"],
        domain=data.get("domain"),
        confidence=data.get("confidence"),
        threshold=data.get("threshold"),
        created_at=float(data["created_at"]),
        urgency=float(data["urgency"]),
        expires_at=float(data["expires_at"]),
        claimed_by=person(data.get("claimed_by")),
        claim_expires_at=data.get("claim_expires_at"),
        question=data.get("question") or "",
        tier=str(data.get("tier") or "base"),
        four_eyes=bool(data.get("four_eyes")),
        barred_by=data.get("barred_by"),
    )


def review(data: dict[str, Any]) -> Review:
    """Raises KeyError, TypeError or ValueError when the gateway's answer is not a review."""
    answer, policy = data["answer"], data.get("policy") or {}
    claim, draft = data.get("claim"), data.get("draft")
    return Review(
        summary=summary(data),
        interaction_id=data["interaction_id"],
        messages=tuple(data["messages"]),
        text=answer["text"] or "",  # null: withheld from who asked
        finish_reason=answer["finish_reason"],
        tokens=tuple(_token(row) for row in answer["tokens"]),
        signals=dict(data.get("signals") or {}),
        signal_ranges={name: (low, mid, high) for name, (low, mid, high) in (data.get("signal_ranges") or {}).items()},
        calibration=data.get("calibration"),
        served_model=data.get("served_model") or "",
        note=data.get("note"),
        policy_name=str(policy.get("name") or policy.get("id") or ""),
        claim=HeldClaim(int(claim["fencing_token"]), float(claim["expires_at"])) if claim else None,
        draft=SavedDraft(draft["text"], draft["note"], float(draft["saved_at"])) if draft else None,
        verdict=_verdict(data.get("verdict")),
        trace_id=data.get("trace_id"),
        proposal=_verdict(data.get("proposal")),
        opinions=tuple(word for each in data.get("opinions") or () if (word := _verdict(each))),
        steps=tuple(_step(row) for row in data.get("steps") or ()),
        samples=int(data.get("samples") or 0),
        audit=bool(data.get("audit")),
    )


def _token(row: list[Any]) -> Token:
    text, _id, logprob, alternatives, *_entropies = row
    return Token(str(text), float(logprob), tuple((str(t), float(p)) for t, p in alternatives))


def _step(row: dict[str, Any]) -> Step:
    """A state that this desk does not know says nothing."""
    state = StepState(row["state"]) if row["state"] in tuple(StepState) else StepState.UNKNOWN
    return Step(int(row["start"]), int(row["end"]), state, str(row.get("why") or ""))


def _verdict(data: dict[str, Any] | None) -> GivenVerdict | None:
    if not data:
        return None
    reviewer = person(data.get("reviewer")) or Person("", "someone")
    return GivenVerdict(
        VerdictKind(data["kind"]), data.get("reason") or "", data.get("content"), reviewer, float(data["created_at"])
    )


def review_page(data: dict[str, Any]) -> ReviewPage:
    return ReviewPage(tuple(summary(row) for row in data["data"]), data.get("next"), dict(data.get("counts") or {}))
