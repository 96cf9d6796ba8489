"""The worked solutions on which self-verification is measured, and whether each is right."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.calibration_rows import read_rows

BIG_BENCH = Path("big_bench_mistake/multistep_arithmetic.jsonl")
GSM8K_GOLD = Path("gsm8k/train.jsonl")
GSM8K_MODELS = Path("gsm8k/model_solutions_even.jsonl")
SOURCES = {
    BIG_BENCH: "github.com/WHGTyen/BIG-Bench-Mistake (Apache-2.0): multistep_arithmetic.jsonl",
    GSM8K_GOLD: "github.com/openai/grade-school-math (MIT): grade_school_math/data/train.jsonl",
    GSM8K_MODELS: "github.com/openai/grade-school-math (MIT): grade_school_math/data/example_model_solutions.jsonl, "
    "every second question from the first",
}
GSM8K_WRITERS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


class MissingData(Exception):
    """The message says which files are not there and where each can be had."""


@dataclass(frozen=True, slots=True)
class Solution:
    """One answer with its steps. Signals are those of serving.confidence, where its tokens were seen."""

    question: str
    text: str
    right: bool
    domain: str
    signals: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trace(Solution):
    """A solution with the line in which people saw the first mistake; None: in no line."""

    mistake: int | None = None

    def line_of(self, character: int) -> int:
        return self.text.count("\n", 0, character)


def require(data: Path) -> None:
    """Raises MissingData."""
    absent = [f"{data / file}: from {source}" for file, source in SOURCES.items() if not (data / file).is_file()]
    if absent:
        raise MissingData("not there, and COUNTERSIGN_DATA must name their folder:\n" + "\n".join(absent))


def big_bench(data: Path) -> list[Trace]:
    """Traces of one line a step. Right by its final answer, which is not the same as without a mistaken line."""
    return [
        Trace(
            question=row["input"],
            text="\n".join(row["steps"]),
            right=row["answer"] == row["target"],
            domain="multistep_arithmetic",
            mistake=row["mistake_index"],
        )
        for row in _rows(data / BIG_BENCH)
    ]


def gsm8k_gold(data: Path) -> list[Solution]:
    """People's own worked solutions; all count as right."""
    return [Solution(row["question"], row["answer"], True, "gold") for row in _rows(data / GSM8K_GOLD)]


def gsm8k_models(data: Path) -> list[Solution]:
    """Four models' solutions to each question."""
    return [
        Solution(row["question"], row[writer]["solution"], row[writer]["is_correct"], writer)
        for row in _rows(data / GSM8K_MODELS)
        for writer in GSM8K_WRITERS
    ]


def own(path: Path) -> list[Solution]:
    """Our model's answers to its own kinds of question, from a file of training.calibration_rows."""
    return [
        Solution(row.text, row.written, row.right, row.domain, row.signals)
        for row in read_rows(path)
        if not row.foreign
    ]


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
