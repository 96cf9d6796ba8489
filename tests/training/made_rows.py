"""Rows as a model might give them, from a hidden chance of being right; no model is needed."""

from dataclasses import replace

import numpy as np

from training.calibration_rows import Row

MODEL = "countersign-reference@0123456789ab"


def made_rows(count: int, seed: int = 0, foreign_share: float = 0.2, unstated_share: float = 0.1) -> list[Row]:
    """Right with chance sigmoid(skill); the signals follow skill with noise, the prompt's follow strangeness."""
    rng = np.random.default_rng(seed)
    return [_row(rng, index, rng.random() < foreign_share, rng.random() < unstated_share) for index in range(count)]


def sampled_rows(count: int, seed: int = 0) -> list[Row]:
    """Rows of two domains with four samples: they agree with a right answer in four of five cases, else in one."""
    rng = np.random.default_rng(seed + 1_000)
    return [_sampled(rng, index, row) for index, row in enumerate(made_rows(count, seed))]


def _sampled(rng: np.random.Generator, index: int, row: Row) -> Row:
    agreeing = rng.random(4) < (0.8 if row.right else 0.2)
    samples = tuple("Answer: 5.0" if agrees else f"Answer: {rng.integers(6, 99)}" for agrees in agreeing)
    story = not row.foreign and index % 2 == 0
    text = f"Mia has {index} apples. How many apples?" if story else f"What is {index} + 5?"
    text = f"Who wrote the {index}th anthem of Peru?" if row.foreign else text
    domain = "word_problems" if story else row.domain
    return replace(row, written="Answer: 5", samples=samples, text=text, domain=domain)


def _row(rng: np.random.Generator, index: int, foreign: bool, unstated: bool) -> Row:
    skill = rng.normal(1.0, 2.5)
    right = bool(rng.random() < 1 / (1 + np.exp(-skill))) and not foreign and not unstated
    sureness = -np.exp(-skill + rng.normal(0, 0.3))
    prompt = rng.normal(-3.5, 0.3) if foreign else rng.normal(-1.2, 0.2)
    signals: dict[str, float | None] = {
        "logprob_min": float(sureness),
        "logprob_mean": float(sureness / 9 + rng.normal(0, 0.01)),
        "answer_logprob_min": None if unstated else float(sureness / 2),
        "answer_found": 0.0 if unstated else 1.0,
        "prompt_logprob_mean": float(prompt),
        "prompt_logprob_window": float(prompt - abs(rng.normal(0.5, 0.1))),
        "finished": 1.0,
    }
    return Row(
        key=f"{index:016x}",
        model=MODEL,
        text=f"question {index}",
        domain="foreign" if foreign else "sums",
        difficulty=0 if foreign else 1 + index % 5,
        foreign=foreign,
        template=f"kind {index % 30}" if foreign else "",
        temperature=0.0,
        system=False,
        written="",
        finish_reason="stop",
        right=right,
        signals=signals,
    )
