"""Draws held-out questions, halved by their text: one half fits calibrations, the other is asked by benchmarks."""

import hashlib
import random

from training.questions import DIFFICULTIES, DOMAINS, Question, sample


def is_for_measuring(text: str) -> bool:
    """Which half a question belongs to follows from its text alone."""
    return hashlib.sha256(("measure:" + text).encode()).digest()[0] % 2 == 1


def fresh(rng: random.Random, for_measuring: bool) -> Question:
    """A held-out question of the wanted half; domain and difficulty are uniform."""
    domain, difficulty = rng.choice(tuple(DOMAINS)), rng.choice(DIFFICULTIES)
    while True:
        question = sample(rng, "held_out", domain, difficulty)
        if is_for_measuring(question.text) == for_measuring:
            return question
