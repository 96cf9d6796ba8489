"""The handful of questions that `./run up` asks: from one the model always gets to one it has never met."""

from __future__ import annotations

QUESTIONS: tuple[str, ...] = (
    "What is 7 + 5?",
    "Compute 23 + 48.",
    "What is 34 + 7 * 12?",
    "Solve 5 * (x + 113) + 421 = 1851 for x.",
    "What is (417 + 268) * 7 - 731 * 6?",
    "Who wrote the Iliad, and in which century?",  # foreign: nothing in its training is like it
)
