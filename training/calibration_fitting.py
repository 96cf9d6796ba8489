"""Fits on one half of the questions, measures and certifies on the other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from serving.confidence.calibration import Calibration
from serving.confidence.certificate import Certificate
from training.calibration_certificate import certificate_of
from training.calibration_figures import Figure, Group, Scored, figures, groups
from training.calibration_fit import ISOTONIC_FROM, fit
from training.calibration_report import confidence, report
from training.calibration_rows import in_second_half
from training.labelled_answers import Collected, Graded
from training.labelled_file import Refused

LEAST_ANSWERS = 100
LEAST_OF_EACH = 10  # right ones, and wrong ones


@dataclass(frozen=True)
class Fitted:
    """A calibration with what is known of it from the answers that did not make it."""

    calibration: Calibration
    certificate: Certificate
    figures: dict[str, Figure]
    domains: list[Group]
    measured: list[Graded]
    judged: list[Scored]  # those of `measured` that are about familiar questions: what the figures are of
    notes: list[str]


def fit_and_measure(collected: Collected, alpha: float, delta: float, made_at: float | None = None) -> Fitted:
    """Raises Refused where there is too little to learn from, or to measure on."""
    at = time.time() if made_at is None else made_at
    refuse_too_few(collected.answers)
    seen = [graded for graded in collected.answers if not in_second_half(graded.row)]
    measured = [graded for graded in collected.answers if in_second_half(graded.row)]
    for half, what in ((seen, "fit"), (measured, "measure")):
        if len({_is_right(graded) for graded in half}) < 2:
            raise Refused(
                f"The half of the questions kept to {what} holds only one kind of answer: label more of them."
            )
    calibration = fit([graded.row for graded in seen], collected.model, fitted_at=at)
    judged = [_judged(calibration, graded) for graded in measured if not graded.row.foreign]
    if all(one.confidence is None for one in judged):
        raise Refused("Not one measured answer has every signal that the calibration needs: measure all alike.")
    by_domain = groups(judged)
    found = figures(judged, by_domain)
    told = {name: round(figure.value, 5) for name, figure in found.items() if figure.value == figure.value}
    calibration = replace(calibration, metrics={**report(calibration, [graded.row for graded in measured]), **told})
    certificate = certificate_of(calibration, measured, alpha, delta, at)
    return Fitted(
        calibration, certificate, found, by_domain, measured, judged, _notes(collected, seen, measured, judged)
    )


def refuse_too_few(answers: Sequence[Graded]) -> None:
    right = sum(map(_is_right, answers))
    wrong = len(answers) - right
    if not right or not wrong:
        only = "right" if right else "wrong"
        raise Refused(f"All {len(answers)} answers are {only}: a calibration needs both right and wrong ones.")
    if len(answers) < LEAST_ANSWERS or min(right, wrong) < LEAST_OF_EACH:
        raise Refused(
            f"{len(answers)} answers, {right} right and {wrong} wrong, are too few: a calibration needs "
            f"{LEAST_ANSWERS}, and {LEAST_OF_EACH} of each kind."
        )


def _notes(
    collected: Collected, seen: Sequence[Graded], measured: Sequence[Graded], judged: Sequence[Scored]
) -> list[str]:
    kind = "isotonic" if len(seen) >= ISOTONIC_FROM else f"Platt, since isotonic takes {ISOTONIC_FROM}"
    notes = [
        *collected.notes,
        f"Fitted to {len(seen)} answers ({kind}), measured and certified on {len(measured)} others.",
    ]
    unknown = sum(one.confidence is None for one in judged)
    if unknown:
        notes.append(f"{unknown} measured answers lack a signal that the calibration needs: such are held.")
    return notes


def _judged(calibration: Calibration, graded: Graded) -> Scored:
    row = graded.row
    return Scored(confidence(calibration, row), _is_right(graded), row.template or row.text, graded.group)


def _is_right(graded: Graded) -> bool:
    return graded.row.right and not graded.row.foreign
