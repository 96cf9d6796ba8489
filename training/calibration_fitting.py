"""Fits on one half of the questions, measures and certifies on the other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from serving.confidence.calibration import Calibration
from serving.confidence.certificate import SMALLEST, Certificate, Labelled, delta_of_attempt
from training.calibration_certificate import certificate_of, labelled
from training.calibration_figures import THRESHOLD, Figure, Group, Scored, figures, groups
from training.calibration_fit import fit
from training.calibration_maps import ISOTONIC_FROM
from training.calibration_report import report
from training.calibration_rows import in_second_half
from training.calibration_stages import Judged, judge
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
    scored: list[Scored]  # what the figures are of
    labelled: list[Labelled]  # what was certified on
    notes: list[str]


def fit_and_measure(collected: Collected, alpha: float, delta: float, made_at: float | None = None) -> Fitted:
    """δ is shared out among the attempts to certify on answers that keep coming: see `delta_of_attempt`.

    Raises Refused where there is too little to learn from, or to measure on.
    """
    at = time.time() if made_at is None else made_at
    spent = delta if collected.attempt is None else delta_of_attempt(delta, collected.attempt)
    if spent < SMALLEST:
        raise Refused(
            f"Attempt {collected.attempt} to certify {collected.model} would spend {spent:.2g} of δ: nothing can be "
            "shown with so little: certify with a greater --delta, or suspend its certificate to begin anew."
        )
    refuse_too_few(collected.answers)
    seen = [graded for graded in collected.answers if not in_second_half(graded.row)]
    measured = [graded for graded in collected.answers if in_second_half(graded.row)]
    for half, what in ((seen, "fit"), (measured, "measure")):
        if len({graded.row.counted_right for graded in half}) < 2:
            raise Refused(
                f"The half of the questions kept to {what} holds only one kind of answer: label more of them."
            )
    refuse_constant(seen)
    calibration = fit([graded.row for graded in seen], collected.model, fitted_at=at)
    judged = [judge(calibration, graded.row) for graded in measured]
    scored = _scored(measured, judged)
    if all(one.confidence is None for one in scored):
        raise Refused("Not one measured answer has every signal that the calibration needs: measure all alike.")
    by_domain = groups(scored)
    found = figures(scored, by_domain)
    told = {name: round(figure.value, 5) for name, figure in found.items() if figure.value == figure.value}
    calibration = replace(calibration, metrics={**report(calibration, [graded.row for graded in measured]), **told})
    rows = labelled(measured, judged)
    certificate = certificate_of(calibration, rows, alpha, spent, at)
    notes = [*collected.notes, *_notes(seen, measured, judged)]
    if collected.attempt is not None:
        notes.append(f"Attempt {collected.attempt} to certify this model spends {spent:.2g} of the δ of {delta:g}.")
    return Fitted(calibration, certificate, found, by_domain, scored, rows, notes)


def refuse_too_few(answers: Sequence[Graded]) -> None:
    right = sum(graded.row.counted_right for graded in answers)
    wrong = len(answers) - right
    if not right or not wrong:
        only = "right" if right else "wrong"
        raise Refused(f"All {len(answers)} answers are {only}: a calibration needs both right and wrong ones.")
    if len(answers) < LEAST_ANSWERS or min(right, wrong) < LEAST_OF_EACH:
        raise Refused(
            f"{len(answers)} answers, {right} right and {wrong} wrong, are too few: a calibration needs "
            f"{LEAST_ANSWERS}, and {LEAST_OF_EACH} of each kind."
        )


def refuse_constant(seen: Sequence[Graded]) -> None:
    names = {name for graded in seen for name in graded.row.signals}
    if all(len({graded.row.signals.get(name) for graded in seen}) < 2 for name in names):
        raise Refused(
            "No signal differs from answer to answer, so nothing can be told from them: measure more signals."
        )


def _scored(measured: Sequence[Graded], judged: Sequence[Judged]) -> list[Scored]:
    """Those about familiar questions."""
    return [
        Scored(told.confidence, graded.row.right, graded.row.text, graded.group)
        for graded, told in zip(measured, judged, strict=True)
        if not graded.row.foreign
    ]


def _notes(seen: Sequence[Graded], measured: Sequence[Graded], judged: Sequence[Judged]) -> list[str]:
    kind = "isotonic" if len(seen) >= ISOTONIC_FROM else f"Platt, since isotonic takes {ISOTONIC_FROM}"
    notes = [f"Fitted to {len(seen)} answers ({kind}), measured and certified on {len(measured)} others."]
    unknown = sum(told.confidence is None for told in judged)
    if unknown:
        notes.append(f"{unknown} measured answers lack a signal that the calibration needs: such are held.")
    named = {graded.group for graded in seen if graded.group}
    if len(named) > 1 and all(told.domain is None for told in judged):
        notes.append(
            f"{len(named)} domains are named, but no question tells them apart, and the gateway goes by the question: "
            'everything is certified as one. Give the questions as "prompt" or "messages".'
        )
    drawn = sum(told.samples for told in judged)
    if drawn:
        notes.append(f"Compared with {drawn / len(judged):.2f} further samples an answer, drawn where they can decide.")
    strange = [told.confidence or 0.0 for graded, told in zip(measured, judged, strict=True) if graded.row.foreign]
    if strange:
        released = sum(confidence >= THRESHOLD for confidence in strange)
        notes.append(
            f"Of {len(strange)} foreign questions, {released} reach {THRESHOLD}; certificates count them wrong."
        )
    return notes
