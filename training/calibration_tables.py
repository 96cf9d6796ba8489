"""Shows the figures of a calibration: as tables for people, as one JSON object for programs."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from serving.confidence.binomial import clopper_pearson
from serving.confidence.certificate import Bound, Certificate, certificate_to_json
from training.calibration_certificate import why_none
from training.calibration_figures import Figure
from training.calibration_fitting import Fitted


def show(console: Console, fitted: Fitted) -> None:
    calibration = fitted.calibration
    console.print(f"{calibration.id} for {calibration.model}", style="bold", highlight=False, markup=False)
    for note in fitted.notes:
        console.print(note, highlight=False, markup=False)
    console.print(_figures(fitted.figures), _groups(fitted), _certificate(fitted))
    for sentence in _uncertified(fitted.certificate):
        console.print(sentence, highlight=False, markup=False)


def as_json(fitted: Fitted) -> dict[str, Any]:
    """NaN, where nothing could be measured, is left out."""
    return {
        "calibration": fitted.calibration.id,
        "model": fitted.calibration.model,
        "rows": fitted.calibration.rows,
        "measured": len(fitted.scored),
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
        table.add_row(name.replace("_", " "), _number(figure.value), span, escape(figure.meaning))
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
        table.add_row(escape(group.name), str(group.answers), *shares)
    return table


def _certificate(fitted: Fitted) -> Table:
    certificate = fitted.certificate
    promise = f"errors ≤ {certificate.alpha:.1%} of what is released, with probability {1 - certificate.delta:.4g}"
    columns = ("domain", "labels", "threshold", "coverage", "observed risk")
    table = Table(*columns, title=f"{certificate.id}: {promise}", title_justify="left")
    for domain, bound in certificate.bounds.items():
        table.add_row(escape(domain) or "(none recognised)", str(bound.labels), *_bound(bound))
    return table


def _uncertified(certificate: Certificate) -> list[str]:
    """A sentence for each reason why nothing is certified of a domain."""
    domains: dict[str, list[str]] = {}
    for domain, bound in certificate.bounds.items():
        if bound.threshold is None:
            why = why_none(bound, certificate.alpha, certificate.delta)
            domains.setdefault(why, []).append(domain or "(none recognised)")
    return [f"Nothing is certified of {', '.join(names)}: {why}." for why, names in domains.items()]


def _bound(bound: Bound) -> tuple[str, str, str]:
    if bound.threshold is None:
        return "–", "0", "–"
    low, high = clopper_pearson(bound.errors, bound.released)
    return (
        f"{bound.threshold:.3f}",
        f"{bound.coverage:.3f}",
        f"{bound.errors} of {bound.released} ({low:.3f} to {high:.3f})",
    )


def _number(value: float) -> str:
    return f"{value:.3f}" if value == value else "–"
