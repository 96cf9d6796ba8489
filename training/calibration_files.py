"""Writes what a calibration consists of into a folder: calibration, certificate, and the two plots."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.confidence.calibration import calibration_to_json
from serving.confidence.certificate import certificate_to_json
from training.calibration_certificate import released_by
from training.calibration_figures import THRESHOLD
from training.calibration_fitting import Fitted
from training.calibration_plots import Point, draw_reliability, draw_risk_coverage
from training.labelled_file import Refused


@dataclass(frozen=True, slots=True)
class Written:
    calibration: Path
    certificate: Path
    reliability: Path
    risk_coverage: Path

    @property
    def files(self) -> tuple[Path, ...]:
        return self.calibration, self.certificate, self.reliability, self.risk_coverage


def write_all(fitted: Fitted, folder: Path, plots: Path) -> Written:
    """Each file is replaced whole, so that nobody reads half of one. Raises Refused where nothing can be written."""
    written = Written(
        folder / "calibration.json", folder / "certificate.json", plots / "reliability.png", plots / "risk_coverage.png"
    )
    try:
        for made in (folder, plots):
            made.mkdir(parents=True, exist_ok=True)
        write_json(calibration_to_json(fitted.calibration), written.calibration)
        write_json(certificate_to_json(fitted.certificate), written.certificate)
        draw(fitted, written)
    except OSError as error:
        raise Refused(f"{error.filename or folder} cannot be written: {error.strerror}.") from None
    return written


def write_json(body: dict[str, Any], path: Path) -> None:
    part = path.with_suffix(".new")
    part.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)


def draw(fitted: Fitted, written: Written) -> None:
    known = [(one.confidence, one.right) for one in fitted.scored if one.confidence is not None]
    sure, right = [confidence for confidence, _ in known], [label for _, label in known]
    ece = fitted.figures["debiased_ece"].value
    note = f"{len(known)} answers that did not make the calibration, debiased ECE {ece:.3f}"
    draw_reliability(written.reliability, sure, right, fitted.calibration.model, note)
    certificate = fitted.certificate
    points = [released_by(certificate, fitted.labelled), _at_threshold(fitted)]
    title = f"{fitted.calibration.model}\n{len(known)} answers, AUROC {fitted.figures['auroc'].value:.3f}"
    shown = [point for point in points if point is not None]
    draw_risk_coverage(written.risk_coverage, sure, right, certificate.alpha, shown, title)


def _at_threshold(fitted: Fitted) -> Point | None:
    coverage, risk = fitted.figures["coverage"].value, fitted.figures["released_risk"].value
    return None if risk != risk else Point(coverage, risk, f"confidence {THRESHOLD} and above")
