"""What releases stand on: the frozen facts of calibrations, certificates, their watch, and what people said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

AUDIT_SHARE = 0.04  # probability with which a released answer is drawn for review, where a policy does not say


@dataclass(frozen=True, slots=True)
class StoredCalibration:
    """A calibration as stored; `body` is plain numbers that serving.confidence reads."""

    id: str
    model: str  # the checkpoint digest it was fitted for
    body: dict[str, Any]
    active: bool
    created_at: float


class CertificateState(StrEnum):
    """What a certificate lets happen now."""

    STORED = "stored"  # kept, and never in use so far
    IN_FORCE = "in_force"  # answers of its model are released by it
    SUSPENDED = "suspended"  # the alarm, or an operator, ended it: its model's answers are held until another is there
    SUPERSEDED = "superseded"  # another one took its place


STANDING = (CertificateState.IN_FORCE, CertificateState.SUSPENDED)  # at most one of a model is one of these


@dataclass(frozen=True, slots=True)
class StoredCertificate:
    """A bound on the risk of what is released, as stored; `body` is plain numbers that serving.confidence reads."""

    id: str
    model: str
    calibration_id: str  # it bounds the confidences of this one only
    body: dict[str, Any]
    state: CertificateState
    created_at: float
    suspended_at: float | None = None


@dataclass(frozen=True, slots=True)
class Label:
    """What a person's last word says of one answer's confidence."""

    interaction_id: str
    tenant: str
    model: str
    calibration_id: str
    confidence: float
    right: bool  # approved as it stood; edited or rejected: wrong
    domain: str | None
    weight: float  # 1/π of an answer that was drawn for audit, 1 of one that had to be reviewed
    heaviest: float | None  # that there could be under the rule it was decided by; inf: some are never looked at
    released: bool  # the caller had it before anybody looked: it was drawn for audit
    at: float  # of the verdict, unix seconds
    verdict_id: str


@dataclass(frozen=True, slots=True)
class Watched:
    """How far the watch over a certificate's released answers has come."""

    certificate_id: str
    model: str
    state: Mapping[str, Any] = field(
        default_factory=dict
    )  # plain numbers that serving.confidence reads; empty at first
    audited: int = 0
    seen_at: float = 0.0  # when the latest verdict that was counted was given
    alarmed_at: float | None = None


@dataclass(frozen=True, slots=True)
class WatchPoint:
    """The watch after one audited answer."""

    interaction_id: str
    number: int  # from 1
    at: float
    wrong: bool
    wealth: float
