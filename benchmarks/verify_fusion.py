"""What the signals of self-verification add to those that cost nothing: AUROC of a logistic fusion with and without."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from benchmarks.measures import auroc
from benchmarks.verify_sets import Solution
from serving.answer import PromptTrace, Step
from serving.confidence.evidence import Evidence, gather
from serving.confidence.signals.answer_departs import answer_departs
from serving.confidence.signals.answer_substituted import answer_substituted
from serving.confidence.signals.steps_invalid import steps_invalid
from serving.confidence.signals.steps_unknown import steps_unknown
from serving.confidence.signals.steps_valid import steps_valid

FOLDS = 5
_EQUATIONS = ("steps_valid", "steps_invalid", "steps_unknown")
_STEP_SIGNALS: tuple[Callable[[Evidence], float | None], ...] = (
    steps_valid,
    steps_invalid,
    steps_unknown,
    answer_substituted,
    answer_departs,
)
_NO_PROMPT = PromptTrace(0, None)
Signals = Mapping[str, float | None]


def step_signals(steps: Sequence[Step]) -> dict[str, float | None]:
    evidence = gather((), _NO_PROMPT, "stop", "", steps=tuple(steps))
    return {signal.__name__: signal(evidence) for signal in _STEP_SIGNALS}


def gain(solutions: Sequence[Solution], steps: Sequence[Sequence[Step]]) -> dict[str, Any]:
    """AUROC of right against wrong answers over 5 folds by question; None where a fold leaves answers of one kind only.

    `free` are the signals of the answer's tokens; where nobody saw its tokens, its length in characters and lines.
    """
    right = np.array([solution.right for solution in solutions], dtype=np.float64)
    fold = np.array([_fold(solution.question) for solution in solutions])
    if any(len(set(right[fold != number])) < 2 for number in range(FOLDS)):
        return {"auroc_free": None, "auroc_equations": None, "auroc_with": None, "auroc_gain": None}
    free = [dict(solution.signals) or _lengths(solution.text) for solution in solutions]
    found = [step_signals(each) for each in steps]
    tokens_seen = any(solution.signals for solution in solutions)
    alone = _auroc(free, right, fold)
    equations = _auroc(
        [{**one, **_only(other, _EQUATIONS)} for one, other in zip(free, found, strict=True)], right, fold
    )
    whole = _auroc([{**one, **other} for one, other in zip(free, found, strict=True)], right, fold)
    return {
        "free_signals": "of tokens and prompt" if tokens_seen else "length in characters and in lines",
        "auroc_free": round(alone, 4),
        "auroc_equations": round(equations, 4),
        "auroc_with": round(whole, 4),
        "auroc_gain": round(whole - alone, 4),
    }


def _auroc(rows: Sequence[Signals], right: NDArray[np.float64], fold: NDArray[np.int64]) -> float:
    design, scores = _design(rows), np.empty(len(rows))
    for out in (fold == number for number in set(fold)):
        scaler = StandardScaler().fit(design[~out])
        model = LogisticRegression(max_iter=2_000).fit(scaler.transform(design[~out]), right[~out])
        scores[out] = model.decision_function(scaler.transform(design[out]))
    return auroc(scores, right)


def _design(rows: Sequence[Signals]) -> NDArray[np.float64]:
    """[rows, columns]; a missing value is the column's mean, with a column that says so."""
    names = sorted({name for row in rows for name in row})
    values = np.array([[np.nan if row.get(name) is None else row[name] for name in names] for row in rows], dtype=float)
    missing = np.isnan(values)
    kept = ~missing.all(axis=0)
    values, missing = values[:, kept], missing[:, kept]
    filled = np.where(missing, np.nanmean(values, axis=0), values)
    return np.hstack([filled, missing[:, missing.any(axis=0)]])


def _lengths(text: str) -> dict[str, float | None]:
    return {"characters": float(len(text)), "lines": float(text.count("\n") + 1)}


def _only(signals: Signals, names: Sequence[str]) -> dict[str, float | None]:
    return {name: signals[name] for name in names}


def _fold(question: str) -> int:
    return hashlib.sha256(question.encode()).digest()[0] % FOLDS
