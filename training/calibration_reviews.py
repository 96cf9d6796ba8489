"""Turns reviewed answers into rows to fit: an approved answer was right, an edited or rejected one wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from serving.confidence.catalogue import NAMES
from storage.records import Decision, Outcome, VerdictKind, Vouched
from storage.reviewed import reviewed, reviewed_models
from training.calibration_rows import Row
from training.labelled_answers import Collected, Graded
from training.labelled_file import Refused


def read_reviews(connection: Connection, model: str | None) -> Collected:
    """The reviewed answers of `model`, or of the only model there are any of. Raises Refused."""
    wanted = model or _only_model(reviewed_models(connection))
    answers: list[Graded] = []
    left_out: Counter[str] = Counter()
    for outcome in reviewed(connection, wanted):
        objection = _objection(outcome)
        if objection:
            left_out[objection] += 1
        else:
            answers.append(_graded(outcome))
    notes = [f"{count} reviewed answers left out: {why}." for why, count in left_out.items()]
    if not answers:
        raise Refused(" ".join([f"There are no reviewed answers of {wanted} to fit.", *notes]))
    return Collected(wanted, answers, notes)


def _only_model(counts: Mapping[str, int]) -> str:
    if not counts:
        raise Refused("Nothing has been reviewed yet: a calibration is fitted to answers with a final verdict.")
    if len(counts) > 1:
        told = ", ".join(f"{model} ({count})" for model, count in counts.items())
        raise Refused(f"There are reviewed answers of several models, so name one with --model: {told}.")
    return next(iter(counts))


def _objection(outcome: Outcome) -> str | None:
    if outcome.vouched is not Vouched.OURS:
        return "their stored records are not vouched for by this master key"
    if not _signals(outcome):
        return "they came without log-probabilities, so nothing was measured"
    return None


def _graded(outcome: Outcome) -> Graded:
    interaction, verdict = outcome.interaction, outcome.verdict
    confidence = interaction.answer.get("confidence") or {}
    domain = str(confidence.get("domain") or "")
    row = Row(
        key=interaction.id,
        model=interaction.served_model,
        text=_question(interaction.messages),
        domain=domain,
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
    group = outcome.item.domain if outcome.item is not None else None
    return Graded(row, group or domain, weight=_weight(outcome.decision))


def _signals(outcome: Outcome) -> dict[str, float | None]:
    """As measured when the answer was given; empty where nothing was."""
    stored = (outcome.interaction.answer.get("confidence") or {}).get("signals") or {}
    known = {name: value for name, value in stored.items() if name in NAMES and value is not None}
    return {name: known.get(name) for name in NAMES} if known else {}


def _weight(decision: Decision) -> float:
    """1 / the chance that a person saw the answer: held ones always, released ones where they were drawn for audit."""
    share: Any = getattr(decision, "audit_share", None)
    return 1.0 / share if share else 1.0


def _question(messages: tuple[dict[str, Any], ...]) -> str:
    asked = [turn.get("content") for turn in messages if turn.get("role") == "user"]
    return str(asked[-1]) if asked else ""
