"""The certified release rule of one calibration: by domain, the confidence above which errors are bounded."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from serving.confidence import checked
from serving.confidence.binomial import at_most
from serving.confidence.checked import InvalidCalibration
from serving.confidence.learn_then_test import Bound, Labelled, bound_of

__all__ = [
    "Bound",
    "Certificate",
    "InvalidCertificate",
    "Labelled",
    "certificate_from_json",
    "certificate_to_json",
    "certify",
    "delta_of_attempt",
]

FORMAT = 1
_MOST_DOMAINS = 1000
SMALLEST = 1e-6  # of alpha and delta: what is smaller promises more than any set of labels can show


class InvalidCertificate(ValueError):
    """A certificate's body cannot be used; the message names the field and says what is wrong."""


@dataclass(frozen=True)
class Certificate:
    """The bounds of one calibration of one model: in each domain, risk <= alpha with probability 1 - delta."""

    calibration_id: str
    model: str
    alpha: float  # the greatest share of wrong answers among those released
    delta: float  # the probability, over the labels drawn, that a domain's bound is wrong
    made_at: float  # unix seconds
    bounds: Mapping[str, Bound]  # by domain; "" is for answers of no recognised domain

    @cached_property
    def id(self) -> str:
        """The word crt_ and 16 hex digits of the SHA-256 of the canonical body."""
        canonical = json.dumps(_body(self), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return "crt_" + hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @cached_property
    def released(self) -> tuple[str, ...]:
        """The domains that it certifies a threshold for."""
        return tuple(name for name, bound in self.bounds.items() if bound.threshold is not None)

    def bound(self, domain: str | None) -> Bound | None:
        """The bound of a domain; None where the certificate says nothing of it."""
        return self.bounds.get(domain or "")


def certify(
    rows: Sequence[Labelled],
    *,
    calibration_id: str,
    model: str,
    alpha: float,
    delta: float,
    made_at: float,
    at_least: float = 0.0,
    heaviest: float | None = None,
) -> Certificate:
    """Test each domain's labelled rows on their own; what is promised, and why it holds: `learn_then_test`.

    `at_least` is the policy's own threshold: nothing looser is tested, because nothing looser is released.
    `heaviest` is the largest weight 1/π that a row could have had, for rows that do not say so themselves; left out,
    the largest among the rows of all domains.
    A domain with too few rows, or in which too many are wrong, has a bound whose threshold is None; no rows, no bounds.
    The same answer given twice counts twice: whoever collects the rows takes each once.
    Raises ValueError naming what cannot be tested: alpha, delta or at_least out of range, a confidence outside 0 to 1,
    a weight below 1 or above `heaviest`.
    """
    _refuse_levels(alpha=alpha, delta=delta, at_least=at_least)
    _refuse_rows(rows, heaviest)
    most = max((row.weight for row in rows), default=1.0) if heaviest is None else heaviest
    domains: dict[str, list[Labelled]] = {}
    for row in rows:
        domains.setdefault(row.domain or "", []).append(row)
    bounds = {
        name: bound_of(domains[name], alpha=alpha, delta=delta, at_least=at_least, heaviest=most)
        for name in sorted(domains)
    }
    return Certificate(calibration_id, model, alpha=alpha, delta=delta, made_at=made_at, bounds=bounds)


def heaviest_of_all(heaviest: Sequence[float | None], times: Sequence[float]) -> list[float | None]:
    """`heaviest` of each label, as likely to count as every other of its time, whoever asked it; `times` in one order.

    From the first moment in which some answers left unreviewed, all are thinned to the share of those that were audited
    least: a tenant that reviews everything would else stand for those that review little. Before it each weighs 1.
    """
    drawn = [(weight, at) for weight, at in zip(heaviest, times, strict=True) if weight is None or weight > 1.0]
    since = min((at for _, at in drawn), default=math.inf)
    most = max((weight for weight, _ in drawn if weight is not None), default=None)
    return [most if at >= since else 1.0 for at in times]


def delta_of_attempt(delta: float, attempt: int) -> float:
    """The δ of the first, second, … attempt to certify on the same, growing labels: δ/2, δ/6, δ/12, …, together δ.

    Whoever tries again until it succeeds and spends the whole δ each time is wrong more often than δ.
    """
    if attempt < 1:
        raise ValueError(f"attempt: counts from 1, not {attempt}")
    return delta / (attempt * (attempt + 1))


def _refuse_levels(*, alpha: float, delta: float, at_least: float) -> None:
    for name, level in (("alpha", alpha), ("delta", delta)):
        if not SMALLEST <= level <= 1.0 - SMALLEST:
            raise ValueError(f"{name}: must lie between 0 and 1, not {level}")
    if not 0.0 <= at_least <= 1.0:
        raise ValueError(f"at_least: must lie from 0 to 1, not {at_least}")


def _refuse_rows(rows: Sequence[Labelled], heaviest: float | None) -> None:
    for place, row in enumerate(rows):
        if not 0.0 <= row.confidence <= 1.0:
            raise ValueError(f"rows[{place}].confidence: must lie from 0 to 1, not {row.confidence}")
        most = row.heaviest or heaviest or row.weight
        if not (1.0 <= row.weight <= most < math.inf):
            raise ValueError(f"rows[{place}].weight: must be 1/π, from 1 to its rule's heaviest, not {row.weight}")


def certificate_to_json(certificate: Certificate) -> dict[str, Any]:
    """The wire and stored form, with its id; `certificate_from_json` reads it back unchanged."""
    return {"id": certificate.id, **_body(certificate)}


def certificate_from_json(body: Any) -> Certificate:
    """Read and check a body. An "id" may be left out; one that does not fit the body is refused.

    Raises InvalidCertificate naming the field, as in "bounds.sums.threshold: …".
    """
    try:
        certificate = _read(checked.mapping(body, "certificate"))
    except InvalidCalibration as wrong:
        raise InvalidCertificate(str(wrong)) from None
    if "id" in body and body["id"] != certificate.id:
        raise InvalidCertificate(f"id: the body's digest is {certificate.id}, so {body['id']!r} is not its name")
    return certificate


def _read(fields: Mapping[str, Any]) -> Certificate:
    if fields.get("format") != FORMAT:
        raise InvalidCertificate(f"format: this version reads format {FORMAT}, not {fields.get('format')!r}")
    _refuse_unknown(fields, {"id", "format", "calibration_id", "model", "alpha", "delta", "made_at", "bounds"}, "")
    bounds = checked.mapping(fields.get("bounds"), "bounds")
    if len(bounds) > _MOST_DOMAINS:
        raise InvalidCertificate(f"bounds: must name at most {_MOST_DOMAINS} domains, not {len(bounds)}")
    certificate = Certificate(
        calibration_id=checked.text(fields, "calibration_id"),
        model=checked.text(fields, "model"),
        alpha=checked.number(fields, "alpha", lowest=SMALLEST, highest=1.0 - SMALLEST),
        delta=checked.number(fields, "delta", lowest=SMALLEST, highest=1.0 - SMALLEST),
        made_at=checked.number(fields, "made_at", lowest=0.0),
        bounds={_domain(name): _bound(bounds[name], f"bounds.{name}") for name in bounds},
    )
    for name, bound in certificate.bounds.items():
        _refuse_unproved(bound, certificate, f"bounds.{name}")
    return certificate


def _refuse_unknown(fields: Mapping[str, Any], known: set[str], place: str) -> None:
    """What is misspelt would else be taken for left out."""
    for name in fields:
        if name not in known:
            raise InvalidCertificate(f"{place}{name}: is no field of a certificate")


def _refuse_unproved(bound: Bound, certificate: Certificate, place: str) -> None:
    """The counts must be evidence for the promise: anybody can write a threshold."""
    if bound.threshold is None:
        return
    chance = at_most(bound.errors, bound.released, certificate.alpha)
    if not chance <= certificate.delta * (1.0 + 1e-9):
        raise InvalidCertificate(
            f"{place}.errors: {bound.errors} of {bound.released} are {chance:.2g} likely at a risk of "
            f"{certificate.alpha:g}, and delta allows {certificate.delta:g}"
        )


def _domain(name: Any) -> str:
    if not isinstance(name, str) or len(name) > 200 or not name.isprintable():
        raise InvalidCertificate("bounds: a domain is named by a printable text of at most 200 characters")
    return name


def _bound(value: Any, place: str) -> Bound:
    fields = checked.mapping(value, place)
    _refuse_unknown(fields, {"threshold", "labels", "released", "errors", "coverage"}, f"{place}.")
    labels = _count(fields, "labels", place, most=10**12)
    released = _count(fields, "released", place, most=labels)
    threshold = None
    if fields.get("threshold") is not None:
        threshold = checked.number(fields, "threshold", place, lowest=0.0, highest=1.0)
    elif released:
        raise InvalidCertificate(f"{place}.released: nothing is released where no threshold is certified")
    return Bound(
        threshold=threshold,
        labels=labels,
        released=released,
        errors=_count(fields, "errors", place, most=released),
        coverage=checked.number(fields, "coverage", place, lowest=0.0, highest=1.0 if released else 0.0),
    )


def _count(fields: Mapping[str, Any], name: str, place: str, *, most: int) -> int:
    value = checked.number(fields, name, place, lowest=0.0, highest=float(most))
    if value != int(value):
        raise InvalidCertificate(f"{place}.{name}: must be a whole number, not {value:g}")
    return int(value)


def _body(certificate: Certificate) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "calibration_id": certificate.calibration_id,
        "model": certificate.model,
        "alpha": float(certificate.alpha),
        "delta": float(certificate.delta),
        "made_at": float(certificate.made_at),
        "bounds": {
            name: {
                "threshold": None if bound.threshold is None else float(bound.threshold),
                "labels": bound.labels,
                "released": bound.released,
                "errors": bound.errors,
                "coverage": float(bound.coverage),
            }
            for name, bound in certificate.bounds.items()
        },
    }
