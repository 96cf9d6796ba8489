"""Turns reviewed answers into rows to fit: an approved answer was right, an edited or rejected one wrong."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from serving.confidence.catalogue import NAMES
from serving.confidence.certificate import heaviest_of_all
from storage.certificates import count_stored, suspended_since
from storage.records import Outcome, VerdictKind, Vouched
from storage.reviewed import Reviewed, reviewed, reviewed_models
from training.calibration_rows import Row
from training.labelled_answers import Collected, Graded
from training.labelled_file import Refused
from training.labelled_signals import OF_SAMPLES


def read_reviews(connection: Connection, model: str | None) -> Collected:
    """The reviewed answers of `model`, or of the only model there are any of. Raises Refused."""
    wanted = model or _only_model(reviewed_models(connection))
    answers: list[Graded] = []
    times: list[float] = []  # of the verdicts
    left_out: Counter[str] = Counter()
    since = suspended_since(connection, wanted)
    for found in reviewed(connection, wanted):
        objection = _objection(found)
        if objection:
            left_out[objection] += 1
        else:
            answers.append(_graded(found, since))
            times.append(found.outcome.verdict.created_at if found.outcome.verdict else 0.0)
    answers = _alike(answers, times)
    notes = [f"{count} reviewed answers left out: {why}." for why, count in left_out.items()]
    if not answers:
        raise Refused(" ".join([f"There are no reviewed answers of {wanted} to fit.", *notes]))
    early = sum(not graded.certifies for graded in answers)
    if early:
        notes.append(
            f"{early} do not stand for what is asked now, or for what was released: fitted to, not certified on."
        )
    if any(graded.heaviest != 1.0 for graded in answers):
        notes.append(
            "Figures are of the answers that people saw, mostly the less sure ones; the certificate weighs them."
        )
    attempt = 1 + count_stored(connection, wanted, since or 0.0)
    return Collected(wanted, answers, notes, attempt)


def _only_model(counts: Mapping[str, int]) -> str:
    if not counts:
        raise Refused("Nothing has been reviewed yet: a calibration is fitted to answers with a final verdict.")
    if len(counts) > 1:
        told = ", ".join(f"{model} ({count})" for model, count in counts.items())
        raise Refused(f"There are reviewed answers of several models, so name one with --model: {told}.")
    return next(iter(counts))


def _objection(found: Reviewed) -> str | None:
    if found.outcome.vouched is not Vouched.OURS:
        return "their stored records are not vouched for by this master key"
    if not _signals(found.outcome):
        return "they came without log-probabilities, so nothing was measured"
    if math.isinf(found.weight):
        return "they were released and not drawn by chance, so they have no weight"
    return None


def _graded(found: Reviewed, since: float | None) -> Graded:
    """It certifies where it was asked after the last suspension, under a rule that audits what it releases."""
    outcome = found.outcome
    certifies = found.heaviest != math.inf and (since is None or outcome.interaction.created_at >= since)
    row = _row(outcome)
    return Graded(row, row.domain, found.weight, found.heaviest, certifies)


def _alike(answers: Sequence[Graded], times: Sequence[float]) -> list[Graded]:
    """Those that certify as likely to count as every other of their time."""
    chosen = [at for at, graded in enumerate(answers) if graded.certifies]
    most = heaviest_of_all([answers[at].heaviest for at in chosen], [times[at] for at in chosen])
    counted = dict(zip(chosen, most, strict=True))
    return [replace(graded, heaviest=counted[at]) if at in counted else graded for at, graded in enumerate(answers)]


def _row(outcome: Outcome) -> Row:
    interaction, verdict = outcome.interaction, outcome.verdict
    return Row(
        key=interaction.id,
        model=interaction.served_model,
        text=_question(interaction.messages),
        domain=outcome.decision.domain or "",
        difficulty=0,
        foreign=False,
        template="",
        temperature=float(interaction.params.get("temperature") or 0.0),
        system=any(turn.get("role") == "system" for turn in interaction.messages),
        written=str(interaction.answer.get("text", "")),
        finish_reason=str(interaction.answer.get("finish_reason", "")),
        right=verdict is not None and verdict.kind is VerdictKind.APPROVE,
        signals=_signals(outcome),
    )


def _signals(outcome: Outcome) -> dict[str, float | None]:
    """As measured when the answer was given; empty where nothing was. Samples' texts are not kept, so none is told."""
    stored = (outcome.interaction.answer.get("confidence") or {}).get("signals") or {}
    known = {name: value for name, value in stored.items() if name in NAMES and name not in OF_SAMPLES}
    if all(value is None for value in known.values()):
        return {}
    return {**{name: known.get(name) for name in NAMES}, "samples": 0.0}


def _question(messages: tuple[dict[str, Any], ...]) -> str:
    asked = [turn.get("content") for turn in messages if turn.get("role") == "user"]
    return str(asked[-1]) if asked else ""
