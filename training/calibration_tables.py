"""Shows the figures of a calibration: as tables for people, as one JSON object for programs."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from serving.confidence.binomial import clopper_pearson
from serving.confidence.certificate import Bound, certificate_to_json
from training.calibration_certificate import why_none
from training.calibration_figures import Figure
from training.calibration_fitting import Fitted


def show(console: Console, fitted: Fitted) -> None:
    calibration = fitted.calibration
    console.print(f"[bold]{calibration.id}[/bold] for {calibration.model}", highlight=False)
    for note in fitted.notes:
        console.print(note, highlight=False)
    console.print(_figures(fitted.figures), _groups(fitted), _certificate(fitted))


def as_json(fitted: Fitted) -> dict[str, Any]:
    """NaN, where nothing could be measured, is left out."""
    return {
        "calibration": fitted.calibration.id,
        "model": fitted.calibration.model,
        "rows": fitted.calibration.rows,
        "measured": len(fitted.judged),
        "figures": {
            name: {"value": figure.value, "low": figure.low, "high": figure.high}
            for name, figure in fitted.figures.items()
            if figure.value == figure.value
        },
        "domains": [
            {"domain": group.name, "answers": group.answers, "accuracy": group.accuracy, "confidence": group.confidence}
            | ({"ece": group.ece} if group.ece == group.ece else {})
            | {"coverage": group.coverage}
            for group in fitted.domains
        ],
        "certificate": certificate_to_json(fitted.certificate),
        "notes": fitted.notes,
    }


def _figures(figures: dict[str, Figure]) -> Table:
    table = Table(
        "figure", "value", "95 % interval", "meaning", title="On answers that did not make it", title_justify="left"
    )
    for name, figure in figures.items():
        span = "" if figure.low is None or figure.high is None else f"{figure.low:.3f} to {figure.high:.3f}"
        table.add_row(name.replace("_", " "), _number(figure.value), span, figure.meaning)
    return table


def _groups(fitted: Fitted) -> Table:
    table = Table(
        "domain",
        "answers",
        "accuracy",
        "confidence",
        "ECE, debiased",
        "coverage",
        title="By domain",
        title_justify="left",
    )
    for group in fitted.domains:
        shares = map(_number, (group.accuracy, group.confidence, group.ece, group.coverage))
        table.add_row(group.name, str(group.answers), *shares)
    return table


def _certificate(fitted: Fitted) -> Table:
    certificate = fitted.certificate
    promise = f"errors ≤ {certificate.alpha:.1%} of what is released, with probability {1 - certificate.delta:.0%}"
    table = Table(
        "domain",
        "labels",
        "threshold",
        "coverage",
        "observed risk",
        "",
        title=f"{certificate.id}: {promise}",
        title_justify="left",
    )
    for domain, bound in certificate.bounds.items():
        table.add_row(
            domain or "(none recognised)", str(bound.labels), *_bound(bound, certificate.alpha, certificate.delta)
        )
    return table


def _bound(bound: Bound, alpha: float, delta: float) -> tuple[str, str, str, str]:
    if bound.threshold is None:
        return "–", "0", "–", why_none(bound, alpha, delta)
    low, high = clopper_pearson(bound.errors, bound.released)
    risk = f"{bound.errors} of {bound.released} ({low:.3f} to {high:.3f})"
    return f"{bound.threshold:.3f}", f"{bound.coverage:.3f}", risk, ""


def _number(value: float) -> str:
    return f"{value:.3f}" if value == value else "–"
