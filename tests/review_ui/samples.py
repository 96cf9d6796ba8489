"""Real-looking review items and audit events for the dashboard's tests."""

from __future__ import annotations

import math
import random
from typing import Any

RIGHT = 0.97
QUESTIONS = (
    (
        "A shelf holds 14 boxes with 23 pens each. 57 pens are taken out. How many pens are left?",
        "14 * 23 = 322. 322 - 57 = 275. The answer is 275.", {"275": 0.38, "322": 0.81}, "word-problem",
    ),
    (
        "What is 48 * 17 - 96 / 4?",
        "48 * 17 = 816. 96 / 4 = 24. 816 - 24 = 792. The answer is 792.", {"792": 0.72}, "arithmetic",
    ),
    (
        "Mia buys 3 books at 12.50 each and pays with a 50 note. How much change does she get?",
        "3 * 12.50 = 37.50. 50 - 37.50 = 13.50. The answer is 13.50.", {"13.50": 0.29, "37.50": 0.66}, "word-problem",
    ),
    ("Who wrote the opera Fidelio?", "12 + 8 = 20. The answer is 20.", {"12": 0.08, "20": 0.21, "+": 0.3}, "foreign"),
    (
        "A train leaves at 9:40 and needs 2 h 35 min. When does it arrive?",
        "9:40 + 2:35 = 11:75. 11:75 = 12:15. The answer is 12:15.", {"11:75": 0.55, "12:15": 0.48}, "word-problem",
    ),
)  # fmt: skip
SIGNALS = {
    "prompt_logprob_mean": -1.34, "logprob_sum": -3.9, "logprob_mean": -0.41, "logprob_min": -1.62,
    "answer_logprob_mean": -0.97, "entropy_max": 0.88, "margin_min": 0.11, "gate_entropy_mean": 0.71, "length": 2.71,
    "finished": 1.0, "answer_found": 1.0,
}  # fmt: skip
RANGES = {
    "prompt_logprob_mean": [-1.6, -0.9, -0.5], "logprob_sum": [-2.1, -0.4, 0.0], "logprob_mean": [-0.2, -0.1, 0.0],
    "logprob_min": [-1.1, -0.3, -0.02], "answer_logprob_mean": [-0.3, -0.02, -0.01], "entropy_max": [0.01, 0.12, 0.9],
    "margin_min": [0.4, 2.3, 4.9], "gate_entropy_mean": [0.6, 0.7, 0.8], "length": [2.1, 2.9, 4.0],
    "finished": [1.0, 1.0, 1.0], "answer_found": [1.0, 1.0, 1.0],
}  # fmt: skip


def tokens(answer: str, doubtful: dict[str, float]) -> list[list[Any]]:
    """One token a word, spaces in front; the doubtful ones at the probabilities given."""
    rows: list[list[Any]] = []
    for number, word in enumerate(answer.split(" ")):
        text = word if number == 0 else f" {word}"
        probability = doubtful.get(word, doubtful.get(word.rstrip("."), RIGHT))
        rest = (1 - probability) * 0.7
        alternatives = [[text, math.log(probability)], [" 265", math.log(rest)], [" 27", math.log(rest / 3)]]
        rows.append([text, number, math.log(probability), alternatives, 1.2 - probability, 0.7])
    return rows


def item(
    number: int, now: float, *, question: str | None = None, answer: str | None = None, waited: float = 600.0
) -> dict[str, Any]:
    """A pending item in the shape of the gateway's ReviewDetail."""
    asked, said, doubtful, domain = QUESTIONS[number % len(QUESTIONS)]
    text = said if answer is None else answer
    unknown = domain == "foreign"
    return {
        "id": f"rev_{number:04d}", "object": "review", "state": "pending", "action": "hold",
        "reason": "unknown_confidence" if unknown else "low_confidence", "model": "countersign-reference@1f0c9a7b2e44",
        "domain": domain, "confidence": None if unknown else 0.61 - number % 5 * 0.07, "threshold": 0.85,
        "created_at": now - waited, "urgency": now - waited + 3600, "expires_at": now - waited + 86_400,
        "claimed_by": None, "claim_expires_at": None, "question": (question or asked)[:200],
        "interaction_id": f"chatcmpl-{number:04d}",
        "messages": [
            {"role": "system", "content": "You are a careful assistant. Show each step, then the answer."},
            {"role": "user", "content": question or asked},
        ],
        "answer": {"text": text, "finish_reason": "stop", "tokens": tokens(text, doubtful)},
        "prompt": {"tokens": 40, "mean_logprob": -1.34, "min_window_logprob": -2.5},
        "signals": dict(SIGNALS), "signal_ranges": dict(RANGES), "calibration": "cal_7d1e02b9",
        "policy": {"id": "pol_1", "version": 1, "name": "default"}, "claim": None, "draft": None, "verdict": None,
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    }  # fmt: skip


def checked(case: dict[str, Any]) -> dict[str, Any]:
    """The first question's item with what self-verification says of its three steps, compared with two more answers."""
    first, second, last = "14 * 23 = 322.", "322 - 57 = 275.", "The answer is 275."
    assert case["answer"]["text"] == f"{first} {second} {last}"
    ends = len(first), len(first) + 1 + len(second), len(case["answer"]["text"])
    steps = [
        {"start": 0, "end": ends[0], "state": "valid", "why": "14 * 23 is 322."},
        {"start": ends[0] + 1, "end": ends[1], "state": "invalid", "why": "322 - 57 is 265, not 275."},
        {"start": ends[1] + 1, "end": ends[2], "state": "unknown", "why": ""},
    ]
    return {**case, "steps": steps, "samples": 2}


def figures(now: float, hours: int) -> dict[str, Any]:
    """A day of monitoring with more confident answers than doubtful ones."""
    chance = random.Random(7)
    release = [0] * 17 + [14, 41, 96]
    hold = [3, 2, 1, 2, 3, 2, 4, 5, 4, 6, 7, 5, 8, 6, 9, 7, 8, 0, 0, 0]
    flag = [0] * 12 + [1, 2, 2, 3, 2, 0, 0, 0]
    first = now - now % 3600 - (hours - 1) * 3600
    by_hour = [
        {"hour": first + n * 3600, "release": 4 + chance.randrange(9), "flag": chance.randrange(2),
         "hold": 1 + chance.randrange(6), "escalate": 0}
        for n in range(hours)
    ]  # fmt: skip
    return {
        "since": now - hours * 3600, "until": now,
        "actions": {"release": sum(release), "flag": sum(flag), "hold": sum(hold), "escalate": 0},
        "review_rate": (sum(hold) + sum(flag)) / (sum(hold) + sum(flag) + sum(release)), "threshold": 0.85,
        "confidence_histogram": {"release": release, "hold": hold, "flag": flag, "escalate": [0] * 20},
        "hours": by_hour, "verdicts": {"approve": 31, "edit": 22, "reject": 9, "refer": 2},
        "median_seconds_to_verdict": 74.0, "queue_depth": 12, "oldest_waiting_seconds": 2710.0,
    }  # fmt: skip


def events(now: float) -> list[dict[str, Any]]:
    """Audit events, newest first."""
    kinds = ("decision", "review.claimed", "review.approved", "decision", "verdict.refused", "decision")
    rows = []
    for number in range(120):
        kind = kinds[number % len(kinds)]
        decided = {"reason": "low_confidence", "action": "hold", "confidence": 0.3 + number % 60 / 100}
        rows.append(
            {
                "id": f"evt_{number:05d}",
                "at": now - number * 97,
                "tenant": "acme",
                "kind": kind,
                "actor": "key:key_chat" if kind == "decision" else "key:key_ada",
                "interaction_id": f"chatcmpl-{number // 3:04d}",
                "item_id": f"rev_{number // 3:04d}",
                "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
                "data": {**decided, "threshold": 0.85} if kind == "decision" else {"fencing_token": number},
                "hash": f"{number:064x}",
                "leaf_index": None if number < 2 else 1_000 - number,
            }
        )
    return rows
