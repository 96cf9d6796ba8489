"""Labelled answers as any OpenAI-compatible server might have given them, from a known chance of being right."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

MODEL = "some-model-2026"


def chance_of(skill: float) -> float:
    return 1.0 / (1.0 + math.exp(-skill))


def made_answers(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Lines of a JSONL file: the surer the tokens, the likelier the answer is right."""
    rng = np.random.default_rng(seed)
    return [_answer(rng, f"{seed}.{index}") for index in range(count)]


def made_measured(count: int, seed: int = 0) -> list[tuple[float, dict[str, Any]]]:
    """The chance of being right, and a line with its signals already measured; one signal tells the chance exactly."""
    rng = np.random.default_rng(seed)
    return [_measured(rng, f"{seed}.{index}") for index in range(count)]


def write_lines(path: Path, answers: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(answer) + "\n" for answer in answers), encoding="utf-8")
    return path


def write_table(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return path


def _answer(rng: np.random.Generator, name: str) -> dict[str, Any]:
    skill = float(rng.normal(1.0, 2.0))
    sums, last = bool(rng.random() < 0.5), int(rng.integers(10, 99))
    words = ["The", " answer", " follows", ".", " Answer", ":", f" {last}", "."]
    least = -math.exp(-skill)
    logprobs = [float(least * rng.random()) for _ in words]
    logprobs[6] = least
    return {
        "model": MODEL,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": _question(name, sums)}],
        "answer": "".join(words),
        "logprobs": [
            {
                "token": word,
                "logprob": logprob,
                "bytes": list(word.encode()),
                "top_logprobs": [{"token": word, "logprob": logprob}, {"token": "?", "logprob": logprob - 3.0}],
            }
            for word, logprob in zip(words, logprobs, strict=True)
        ],
        "finish_reason": "stop",
        "right": bool(rng.random() < chance_of(skill)),
        "domain": "sums" if sums else "dates",
    }


def _question(name: str, sums: bool) -> str:
    return f"What is the sum of {name} and two?" if sums else f"Which weekday comes {name} days after a Monday?"


def _measured(rng: np.random.Generator, name: str) -> tuple[float, dict[str, Any]]:
    skill = float(rng.normal(1.0, 2.0))
    chance = chance_of(skill)
    signals = {"logprob_mean": -math.exp(-skill), "length": float(rng.normal(3.0, 0.5))}
    line = {"model": MODEL, "question": name, "right": bool(rng.random() < chance), "domain": "sums"}
    return chance, {**line, "signals": signals}
