"""Certifies a calibration on answers that did not make it, and says in words where nothing can be certified."""

from __future__ import annotations

from collections.abc import Sequence

from serving.confidence.calibration import Calibration
from serving.confidence.certificate import Bound, Certificate, Labelled, certify
from serving.confidence.learn_then_test import fewest
from training.calibration_plots import Point
from training.calibration_stages import Judged
from training.labelled_answers import Graded

AT_LEAST = 0.0  # looser thresholds than a policy's own are shown too; the gateway takes the stricter of the two


def certificate_of(
    calibration: Calibration, rows: Sequence[Labelled], alpha: float, delta: float, made_at: float
) -> Certificate:
    """By domain as the calibration recognises it from the question, which is how the gateway will look it up."""
    return certify(
        rows,
        calibration_id=calibration.id,
        model=calibration.model,
        alpha=alpha,
        delta=delta,
        made_at=made_at,
        at_least=AT_LEAST,
    )


def labelled(measured: Sequence[Graded], judged: Sequence[Judged]) -> list[Labelled]:
    """What a certificate is tested on. Answers that nothing vouches for are held, so no bound is about them."""
    return [
        Labelled(told.confidence, graded.row.counted_right, told.domain, graded.weight, graded.heaviest)
        for graded, told in zip(measured, judged, strict=True)
        if graded.certifies and told.confidence is not None
    ]


def released_by(certificate: Certificate, rows: Sequence[Labelled]) -> Point | None:
    """What the certificate's thresholds let out of these rows together; None where it certifies nothing."""
    out = [row for row in rows if _is_released(certificate, row)]
    if not out:
        return None
    weight = sum(row.weight for row in out)
    wrong = sum(row.weight for row in out if not row.right)
    return Point(weight / sum(row.weight for row in rows), wrong / weight, "certified")


def certifies_anything(certificate: Certificate) -> bool:
    return any(bound.threshold is not None for bound in certificate.bounds.values())


def promise(certificate: Certificate) -> str:
    """What follows from activating it, in one sentence."""
    if certifies_anything(certificate):
        return f"{certificate.id} bounds errors to {certificate.alpha:.1%} of what it lets out."
    return "Nothing is certified: unless a policy releases without a certificate, every answer will be held."


def why_none(bound: Bound, alpha: float, delta: float) -> str:
    """Why nothing of a domain is certified."""
    least = fewest(alpha, delta)
    if bound.labels < least:
        return f"too few: with no error at all, {least} answers are the least for α {alpha:g}, δ {delta:g}"
    return f"no threshold keeps errors under {alpha:.1%} with probability {1 - delta:.4g}"


def _is_released(certificate: Certificate, row: Labelled) -> bool:
    bound = certificate.bound(row.domain)
    return bound is not None and bound.threshold is not None and row.confidence >= bound.threshold
