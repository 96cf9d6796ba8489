"""Sums and differences of two to five numbers."""

import random

from training.domains.phrasing import ask, loosen

_TERMS = {1: (2, 2), 2: (2, 2), 3: (3, 3), 4: (3, 4), 5: (4, 5)}
_LARGEST = {1: 20, 2: 100, 3: 200, 4: 1000, 5: 99999}
_TWO_TERM_ASKS = {
    "+": ("What is the sum of {} and {}?", "Add {} and {}.", "Add {1} to {0}."),
    "-": (
        "What is the difference between {} and {}?",
        "Subtract {1} from {0}.",
        "What is left when {1} is taken from {0}?",
    ),
}


def write(rng: random.Random, difficulty: int) -> tuple[str, list[str], int]:
    """One chain of additions and subtractions, never falling below zero."""
    total = rng.randint(1, _LARGEST[difficulty])
    text, steps = str(total), []
    sign, number, first = "+", 0, total
    for _ in range(rng.randint(*_TERMS[difficulty]) - 1):
        number = rng.randint(1, _LARGEST[difficulty])
        sign = "-" if rng.random() < 0.45 and number <= total else "+"
        result = total + number if sign == "+" else total - number
        text += f" {sign} {number}"
        steps.append(f"{total} {sign} {number} = {result}")
        total = result
    if len(steps) == 1 and rng.random() < 0.2:
        asked = rng.choice(_TWO_TERM_ASKS[sign]).format(first, number)
        return loosen(rng, asked), steps, total
    return ask(rng, text), steps, total
