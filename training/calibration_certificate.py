"""Certifies a calibration on answers that did not make it, and says in words where nothing can be certified."""

from __future__ import annotations

import math
from collections.abc import Sequence

from serving.confidence.calibration import Calibration
from serving.confidence.certificate import Bound, Certificate, Labelled, certify
from training.calibration_plots import Point
from training.calibration_report import confidence
from training.labelled_answers import Graded

AT_LEAST = 0.0  # looser thresholds than a policy's own are shown too; the gateway takes the stricter of the two


def certificate_of(
    calibration: Calibration, measured: Sequence[Graded], alpha: float, delta: float, made_at: float
) -> Certificate:
    """By domain as the gateway tells it. Answers that nothing vouches for are held, so no bound is about them."""
    return certify(
        labelled(calibration, measured),
        calibration_id=calibration.id,
        model=calibration.model,
        alpha=alpha,
        delta=delta,
        made_at=made_at,
        at_least=AT_LEAST,
    )


def labelled(calibration: Calibration, measured: Sequence[Graded]) -> list[Labelled]:
    """What a certificate is tested on."""
    rows = ((graded, confidence(calibration, graded.row)) for graded in measured if graded.certifies)
    return [
        Labelled(value, graded.row.right and not graded.row.foreign, graded.row.domain or None, graded.weight)
        for graded, value in rows
        if value is not None
    ]


def released_by(certificate: Certificate, rows: Sequence[Labelled]) -> Point | None:
    """What the certificate's thresholds let out of these rows together; None where it certifies nothing."""
    out = [row for row in rows if _is_released(certificate, row)]
    if not out:
        return None
    weight = sum(row.weight for row in out)
    wrong = sum(row.weight for row in out if not row.right)
    return Point(weight / sum(row.weight for row in rows), wrong / weight, "certified")


def why_none(bound: Bound, alpha: float, delta: float) -> str:
    """Why nothing of a domain is certified."""
    least = math.ceil(math.log(delta) / math.log1p(-alpha))
    if bound.labels < least:
        return f"too few: with no error at all, {least} answers are the least for α {alpha:g}, δ {delta:g}"
    return f"no threshold keeps errors under {alpha:.1%} with probability {1 - delta:.0%}"


def _is_released(certificate: Certificate, row: Labelled) -> bool:
    bound = certificate.bound(row.domain)
    return bound is not None and bound.threshold is not None and row.confidence >= bound.threshold
