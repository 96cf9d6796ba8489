"""How long checking an answer takes, in this process and through the pool, hostile answers among them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.verify_sets import Solution
from serving.confidence.self_verify.pool import SelfVerifier
from serving.confidence.self_verify.unfinished import BUSY, DIED, TOO_SLOW
from serving.confidence.self_verify.verify import steps

HOSTILE = (
    "9**9**9 = 1",
    "9^9^9^9^9 = 3\nAnswer: 3",
    "(" * 10_000 + "1" + ")" * 10_000 + " = 1",
    "-" * 50_000 + "1 = 1",
    "1 + 1 = 2 " * 100_000,
    "(x+1)^8 = (x+2)^8\n" * 5_000,
    "x^64 + x^63 + 2^x = √(x + 1)\n" * 100,
    "9" * 1_000_000 + " = 9",
    "<<1=1>>" * 100_000,
)
_HOSTILE_QUESTION = "Solve x^7 + 2^x = √(x + 3)."


def measure(answers: Sequence[Solution], most: int = 1_500) -> dict[str, Any]:
    """Milliseconds of an answer, and of a step as an answer's time divided among its steps."""
    chosen = answers[:: max(1, len(answers) // most)]
    alone, each = [], []
    for answer in chosen:
        begun = time.perf_counter()
        found = steps(answer.text, answer.question)
        alone.append(1e3 * (time.perf_counter() - begun))
        each.append(alone[-1] / max(1, len(found)))
    pooled, hostile, stopped, cap = asyncio.run(_through_the_pool(chosen))
    return {
        "answers": len(chosen),
        "step_p99_ms": _p99(each),
        "answer_p99_ms": _p99(alone),
        "pool_p50_ms": round(float(np.median(pooled)), 2),
        "pool_p99_ms": _p99(pooled),
        "pool_max_ms": round(max(pooled), 2),
        "pool_stopped": stopped,
        "hostile_max_ms": round(max(hostile), 1),
        "cap_ms": round(1e3 * cap, 1),
        "load": round(os.getloadavg()[0], 2),
    }


async def _through_the_pool(answers: Sequence[Solution]) -> tuple[list[float], list[float], int, float]:
    """Milliseconds of each answer and of each hostile one, how many were stopped, and the cap in seconds."""
    pooled, hostile, stopped = [], [], 0
    async with SelfVerifier() as verifier:
        for answer in answers:
            begun = time.perf_counter()
            found = await verifier.steps(answer.question, answer.text)
            pooled.append(1e3 * (time.perf_counter() - begun))
            stopped += any(step.why in (TOO_SLOW, BUSY, DIED) for step in found)
        for text in HOSTILE:
            begun = time.perf_counter()
            await verifier.steps(_HOSTILE_QUESTION, text)
            hostile.append(1e3 * (time.perf_counter() - begun))
        return pooled, hostile, stopped, verifier.seconds


def _p99(milliseconds: Sequence[float]) -> float:
    return round(float(np.quantile(milliseconds, 0.99)), 2)
