"""The outputs that peers are measured on, as lm-polygraph and uqlm want them; runs in the peers' own environment."""

from __future__ import annotations

import json
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Found = tuple[str, int, Floats | str]  # method, samples it looks at, confidence [rows] or why it did not run


@dataclass(frozen=True)
class Sample:
    """One more answer; `stated` is the canonical answer, or the text itself where none was stated."""

    text: str
    stated: str
    tokens: list[str]
    logprobs: list[float]


@dataclass(frozen=True)
class Row:
    """One question with the answer that is judged, its tokens' best alternatives, and further samples."""

    prompt: str
    greedy: Sample
    ids: list[int]  # of the greedy answer's tokens
    entropies: list[float]
    top: list[list[tuple[str, float]]]  # [tokens][k], best first
    samples: list[Sample]
    right: bool


def read(path: Path) -> list[Row]:
    """The rows of a file."""
    return [_row(row) for row in json.loads(path.read_text(encoding="utf-8"))]


def equality(texts: Sequence[str], others: Sequence[str]) -> Floats:
    """[texts, others]: 1 where they are the same, else 0."""
    return np.array([[float(one == other) for other in others] for one in texts])


def reason(error: Exception) -> str:
    """The first line of what an error says; where it says nothing, the line of code that raised it."""
    said = str(error).strip() or (traceback.extract_tb(error.__traceback__)[-1].line or "")
    return f"{type(error).__name__}: {said}".splitlines()[0][:200]


def _row(told: dict[str, Any]) -> Row:
    return Row(
        told["prompt"],
        Sample(**told["greedy"]),
        told["ids"],
        told["entropies"],
        [[(text, logprob) for text, logprob in token] for token in told["top"]],
        [Sample(**sample) for sample in told["samples"]],
        told["right"],
    )
