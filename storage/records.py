"""What happened: the frozen facts that travel between storage, gateway and dashboard."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from storage.certified import AUDIT_SHARE
from storage.certified import StoredCalibration as StoredCalibration

# All times are unix seconds in UTC (float); all ids are random, with a prefix that names their kind.


class Action(StrEnum):
    """What a policy does with an answer."""

    RELEASE = "release"  # the caller gets it now
    FLAG = "flag"  # the caller gets it now, and a person reviews it afterwards
    HOLD = "hold"  # a person must see it first
    ESCALATE = "escalate"  # the next tier is asked; no policy uses it before tiers exist


class Reason(StrEnum):
    """Why a decision came out as it did."""

    CONFIDENT = "confident"  # confidence at or above the threshold
    LOW_CONFIDENCE = "low_confidence"  # confidence under the threshold
    UNKNOWN_CONFIDENCE = "unknown_confidence"  # none, NaN, or outside [0, 1]
    UNCALIBRATED = "uncalibrated"  # no calibration fits this model
    UNFINISHED = "unfinished"  # the answer was cut off by the token limit
    UNCERTIFIED = "uncertified"  # no certificate bounds the risk of releasing such answers
    DRIFT = "drift"  # too many audited answers were wrong: the certificate is suspended
    RANDOM_AUDIT = "random_audit"  # of an item: its answer was released, and drawn to be looked at


class ItemState(StrEnum):
    """Where a review item is in its life; docs/review-lifecycle.md draws it."""

    PENDING = "pending"  # waits for a reviewer
    CLAIMED = "claimed"  # one reviewer holds a lease on it
    APPROVED = "approved"  # final: the model's text is released
    EDITED = "edited"  # final: the reviewer's text is released
    REJECTED = "rejected"  # final: withheld
    REFERRED = "referred"  # waits to be put before a different person
    EXPIRED = "expired"  # final: nobody decided in time; withheld
    QUARANTINED = "quarantined"  # final: could not be reviewed; withheld, an alarm fires
    WITHDRAWN = "withdrawn"  # final: the caller took the question back


OPEN_STATES = frozenset({ItemState.PENDING, ItemState.CLAIMED, ItemState.REFERRED})


class VerdictKind(StrEnum):
    """What a reviewer says of an answer."""

    APPROVE = "approve"  # right as it stands
    EDIT = "edit"  # right with these words instead
    REJECT = "reject"  # must not leave
    REFER = "refer"  # another person should look


class Tier(StrEnum):
    """How much an answer's scenario matters; a policy says it, and urgency follows it."""

    BASE = "base"  # everyday questions
    PRO = "pro"  # work that is built upon
    ULTRA = "ultra"  # a mistake is costly


class PrivateState(StrEnum):
    """Whether an event's private facts can be read."""

    NONE = "none"  # it has none
    OPEN = "open"  # they are in `private`
    ERASED = "erased"  # they were destroyed, with their subject or their interaction
    UNREADABLE = "unreadable"  # they are there, but the key is not


class Role(StrEnum):
    """What a key may do."""

    CALLER = "caller"  # ask, and retrieve its own tenant's answers
    REVIEWER = "reviewer"  # claim and decide
    AUDITOR = "auditor"  # read the audit log and monitoring
    ADMIN = "admin"  # all of these, and manage keys and policies


@dataclass(frozen=True, slots=True)
class Policy:
    """How one key's answers are gated."""

    id: str
    version: int = 1
    threshold: float = 0.85  # release at or above
    below: Action = Action.HOLD  # under the threshold: hold, flag, or release
    review_seconds: float = 86_400.0  # a held answer expires after this
    name: str = "default"
    tier: Tier = Tier.BASE
    four_eyes: bool = False  # two people must agree on the same text before it is released
    without_certificate: Action = Action.HOLD  # what nothing certifies: hold, or release by the threshold alone
    audit_share: float = AUDIT_SHARE  # probability with which a released answer is drawn for review


@dataclass(frozen=True, slots=True)
class Key:
    """An API key. Only the SHA-256 of the secret is stored."""

    id: str
    tenant: str
    name: str  # shown to people: "internal-chat", "Ada Lovelace"
    roles: frozenset[Role]
    policy: Policy
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    skills: frozenset[str] | None = None  # domains a reviewer may decide; None: every domain


@dataclass(frozen=True, slots=True)
class Interaction:
    """A prompt and its outcome, as asked and as answered."""

    id: str  # chatcmpl-…, the completion id that the caller sees
    tenant: str
    key_id: str
    model: str  # as asked for
    served_model: str  # the checkpoint that answered, with its digest
    messages: tuple[dict[str, Any], ...]
    params: dict[str, Any]  # temperature, max_tokens, … as validated
    answer: dict[str, Any]  # serving.answer.answer_to_json
    content_hash: str  # sha256 hex of the answer's text in UTF-8
    confidence: float | None
    calibration_id: str | None
    created_at: float
    request_id: str
    trace_id: str | None = None
    traceparent: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    subject: str | None = None  # whose question it was: the id of a subject, who may be erased
    body_hash: str | None = None  # sha256 hex of the request as sent: a client's retry is known by it
    retry_count: int = 0  # as the client counted


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy did with one interaction, and over which bytes."""

    id: str
    interaction_id: str
    action: Action
    reason: Reason
    confidence: float | None
    threshold: float
    calibration_id: str | None
    policy_id: str
    policy_version: int
    content_hash: str
    created_at: float
    domain: str | None = None  # of the answer, as the calibration saw it
    audit_share: float | None = None  # probability of the draw for audit; None unless released
    certificate_id: str | None = None  # whose threshold the confidence was compared with; None: nobody's


@dataclass(frozen=True, slots=True)
class ReviewItem:
    """One answer waiting for a person, or what became of it."""

    id: str
    interaction_id: str
    tenant: str
    state: ItemState
    version: int  # grows by one with each transition
    urgency: float  # lower is sooner: unix seconds by which a reviewer should see it
    reason: Reason
    action: Action  # hold or flag; release: the answer was drawn for audit
    domain: str | None
    created_at: float
    expires_at: float
    fencing_token: int = 0  # of the latest claim; only grows
    claimed_by: str | None = None  # key id of the reviewer
    claim_expires_at: float | None = None
    claims: int = 0  # how often it was claimed
    referred_by: str | None = None  # this person may not claim it again
    decided_at: float | None = None
    tier: Tier = Tier.BASE
    four_eyes: bool = False  # two people must agree on the same text


@dataclass(frozen=True, slots=True)
class Claim:
    """A reviewer's lease on an item; a verdict must carry its token."""

    item: ReviewItem
    reviewer_id: str
    fencing_token: int
    expires_at: float


@dataclass(frozen=True, slots=True)
class Draft:
    """What a reviewer has typed so far, kept on the server."""

    item_id: str
    reviewer_id: str
    text: str
    note: str
    saved_at: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """A reviewer's final word, over the very bytes it releases."""

    id: str
    item_id: str
    reviewer_id: str
    kind: VerdictKind
    reason: str  # required for reject, edit and refer
    content: str | None  # the corrected text when kind is edit
    content_hash: str | None  # of the text released; None when nothing is
    fencing_token: int
    created_at: float
    traceparent: str | None = None
    final: bool = True  # False: a referral, or the first of two who must agree


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One thing that happened, written in the transaction in which it happened."""

    id: str
    at: float
    tenant: str
    kind: str  # one of storage.audit_log.EVENT_KINDS
    actor: str  # "key:<id>", "worker", "system"
    interaction_id: str | None = None
    item_id: str | None = None
    trace_id: str | None = None
    data: dict[str, Any] = field(default_factory=dict)
    hash: str = ""  # RFC 9162 leaf hash in hexadecimal; docs/audit-log.md says over what
    subject: str | None = None  # whose private facts it holds
    commitment: str | None = None  # to the sealed private facts; stays when they are erased
    private: dict[str, Any] | None = None  # the facts themselves, for readers who may see them
    private_state: PrivateState | None = None  # None: not looked up
    leaf_index: int | None = None  # its place in the tree; None until it is sealed


class Vouched(StrEnum):
    """Whether the stored records of an answer are those that were written under the master key; the worst is last."""

    OURS = "ours"
    BEFORE = "not_vouched_yet"  # no MAC, as rows of before there were any: nobody can tell until an operator vouches
    OTHER_KEY = "other_master_key"  # written under another master key: nobody can tell until that one is back
    NOT = "not_vouched"  # altered, or put there


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything about one interaction that a caller may learn."""

    interaction: Interaction
    decision: Decision
    item: ReviewItem | None
    verdict: Verdict | None
    vouched: Vouched = Vouched.NOT

    @property
    def released_text(self) -> str | None:
        """The text that may leave, or None: nothing may, it is not the one decided on, or who let it out is unknown."""
        text, decided_hash = self._let_out if self.vouched is Vouched.OURS else (None, None)
        return str(text) if text is not None and _hash(text) == decided_hash else None

    @property
    def content_changed(self) -> bool:
        """Whether a text might leave, if the one stored were the one that the decision or verdict was made over."""
        text, decided_hash = self._let_out
        return decided_hash is not None and (text is None or _hash(text) != decided_hash)

    @property
    def _let_out(self) -> tuple[str | None, str | None]:
        """The stored text that decision or verdict lets out, and the hash it was made over; None, None: nothing."""
        own, verdict = self.interaction.answer.get("text"), self.verdict
        state = self.item.state if self.item is not None else None
        if verdict is None:
            told = state in (ItemState.APPROVED, ItemState.EDITED, ItemState.REJECTED)  # by a verdict that is gone
            left = self.decision.action in (Action.RELEASE, Action.FLAG) and not told
            return (own, self.decision.content_hash) if left else (None, None)
        if (state, verdict.kind) == (ItemState.APPROVED, VerdictKind.APPROVE):
            return own, verdict.content_hash or ""
        edited = (state, verdict.kind) == (ItemState.EDITED, VerdictKind.EDIT)
        return (verdict.content, verdict.content_hash or "") if edited else (None, None)


def _hash(text: object) -> str:
    return hashlib.sha256(str(text).encode("utf-8", "surrogatepass")).hexdigest()
