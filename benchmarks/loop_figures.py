"""Turns asked questions and what became of them into the loop's figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from benchmarks import measures
from benchmarks.loop_caller import Outcome
from training.questions import Question, grade

RELEASED = frozenset({"release", "flag"})  # actions that let the answer leave


def figures(questions: Sequence[Question], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Accuracy of what was released and held, and how well confidence ranks and means what it says.

    AUROC and ECE are over the answers that have a confidence; `unknown` counts the others, which are all held.
    """
    rows = [(o, grade(q, o.text or "")) for q, o in zip(questions, outcomes, strict=True)]
    known = [(o.confidence, right) for o, right in rows if o.confidence is not None]
    sure, right = [c for c, _ in known], [r for _, r in known]
    released = [r for o, r in rows if o.action in RELEASED]
    held = [r for o, r in rows if o.action not in RELEASED]
    seconds = sorted(o.seconds for o in outcomes)
    return {
        "released": len(released),
        "held": len(held),
        "accuracy": _share([r for _, r in rows]),
        "released_accuracy": _share(released),
        "held_accuracy": _share(held),
        "auroc": _round(measures.auroc(sure, right)) if known else None,
        "ece": _round(measures.ece(sure, right)) if known else None,
        "debiased_ece": _round(measures.debiased_ece(sure, right)) if known else None,
        "brier": _round(measures.brier(sure, right)) if known else None,
        "prr": _round(measures.prr(sure, right)) if known else None,
        "unknown": len(rows) - len(known),
        "median_seconds": _round(seconds[len(seconds) // 2]),
        "by_domain": _by(questions, outcomes, lambda q: q.domain),
        "by_difficulty": _by(questions, outcomes, lambda q: str(q.difficulty)),
    }


def share_released(outcomes: Sequence[Outcome]) -> float:
    """How many of these left without a person, as a share."""
    return sum(outcome.action in RELEASED for outcome in outcomes) / len(outcomes)


def _by(questions: Sequence[Question], outcomes: Sequence[Outcome], name: Any) -> dict[str, dict[str, float | None]]:
    groups: dict[str, list[tuple[Outcome, bool]]] = {}
    for question, outcome in zip(questions, outcomes, strict=True):
        groups.setdefault(name(question), []).append((outcome, grade(question, outcome.text or "")))
    return {
        group: {
            "questions": len(rows),
            "accuracy": _share([right for _, right in rows]),
            "released": _share([outcome.action in RELEASED for outcome, _ in rows]),
            "released_accuracy": _share([right for outcome, right in rows if outcome.action in RELEASED]),
        }
        for group, rows in sorted(groups.items())
    }


def _share(values: Sequence[bool]) -> float | None:
    return _round(sum(values) / len(values)) if values else None


def _round(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
