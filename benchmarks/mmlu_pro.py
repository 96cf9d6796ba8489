"""Real answers of real models to the same 12,032 questions of MMLU-Pro, and a score of confidence fitted to them."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped, unused-ignore]

# Mixtral-8x7B-v0.1.csv is left out: 9,696 of its 12,032 answers are "E", so it is bad input, not a model's answers.
MODELS = (
    "Meta-Llama-3.1-8B-Instruct-Turbo",
    "Phi-3.5-MoE-instruct",
    "Qwen3-14B",
    "Qwen3-30B-A3B",
    "Qwen3-4B",
)
SIGNALS = (
    "logit_perplexity_confidence",
    "verbal_numerical_confidence",
    "verbal_linguistic_confidence",
    "token_length",
)
FIT_ROWS = 6000
SOURCE = "https://github.com/Linwei94/LLM-Calibration-Study"

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class NoData(Exception):
    """A file of answers is not there; the message says where it comes from."""


@dataclass(frozen=True)
class Answers:
    """One model's answers, in the order of the questions."""

    features: Floats  # [answers, signals + parse failure + categories]; NaN where a signal is missing
    wrong: Flags  # [answers]; an answer that could not be extracted is wrong


@dataclass(frozen=True)
class Scored:
    """Calibrated confidence and truth of answers that the score was not fitted on."""

    confidence: Floats  # [answers]
    wrong: Flags  # [answers]
    features: Floats  # [answers, features], as in Answers

    def risk(self, threshold: float) -> float:
        """Share of wrong answers among those at or above the threshold; NaN where there are none."""
        released = self.wrong[self.confidence >= threshold]
        return float(released.mean()) if len(released) else float("nan")

    def coverage(self, threshold: float) -> float:
        return float((self.confidence >= threshold).mean())


class Score:
    """Gradient boosting on what came with the answers, with Platt's calibration by three-fold cross-fitting."""

    def __init__(self, answers: Answers, rows: NDArray[np.intp], seed: int) -> None:
        booster = HistGradientBoostingClassifier(
            max_iter=150,
            learning_rate=0.05,
            max_leaf_nodes=12,
            min_samples_leaf=40,
            l2_regularization=1.0,
            random_state=seed,
        )
        self._fitted = CalibratedClassifierCV(booster, method="sigmoid", cv=3, ensemble=False)
        with threadpool_limits(1):  # threads that wait for one another make it ten times slower on a busy machine
            self._fitted.fit(answers.features[rows], ~answers.wrong[rows])

    def of(self, answers: Answers, rows: NDArray[np.intp]) -> Scored:
        with threadpool_limits(1):
            confidence = self._fitted.predict_proba(answers.features[rows])[:, 1]
        return Scored(np.clip(confidence, 0.0, 1.0), answers.wrong[rows], answers.features[rows])


def data_folder() -> Path:
    return Path(os.environ.get("COUNTERSIGN_DATA") or "data")


def read(data: Path, model: str) -> Answers:
    """Raises NoData where `data`/mmlu_pro/`model`.csv is not there."""
    path = data / "mmlu_pro" / f"{model}.csv"
    if not path.is_file():
        raise NoData(f"{path} does not exist; COUNTERSIGN_DATA must name the folder that holds mmlu_pro/ of {SOURCE}.")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    signals = np.array([[_number(row[name]) for name in SIGNALS] for row in rows])
    failed = np.array([not row["extracted_answer"] for row in rows])
    categories = sorted({row["category"] for row in rows})
    one_hot = np.array([[row["category"] == category for category in categories] for row in rows])
    right = np.array([row["extracted_answer"] == row["correct_answer"] for row in rows])
    return Answers(np.column_stack([signals, failed, one_hot]).astype(np.float64), ~right)


def split(answers: int, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows to fit on, and the rows left over, which are the population of everything that is measured."""
    order = np.random.default_rng(seed).permutation(answers)
    return order[:FIT_ROWS], order[FIT_ROWS:]


def scored(data: Path, model: str, seed: int) -> Scored:
    """The population of a model, under a score fitted to its other rows."""
    answers = read(data, model)
    fit, rest = split(len(answers.wrong), seed)
    return Score(answers, fit, seed).of(answers, rest)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
