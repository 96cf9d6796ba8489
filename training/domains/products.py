"""Products and exact quotients, the larger ones split by place value."""

import random

from training.domains.phrasing import ask, loosen

_FACTORS = {1: (10, 10), 2: (30, 9), 3: (300, 9), 4: (99, 99), 5: (999, 99)}
_ASKS = ("What is the product of {} and {}?", "Multiply {} by {}.", "Multiply {} and {}.")
_DIVISION_ASKS = (
    "Divide {} by {}.",
    "What is {} divided by {}?",
    "How many times does {1} fit into {0}?",
)


def write(rng: random.Random, difficulty: int) -> tuple[str, list[str], int]:
    """One product, or one quotient without remainder up to difficulty three."""
    high, low = _FACTORS[difficulty]
    a = rng.randint(max(2, high // 10), high)
    b = rng.randint(2 if low < 11 else 12, low)
    if difficulty <= 3 and rng.random() < 0.35:
        return _quotient(rng, a, b)
    return _product(rng, a, b)


def _quotient(rng: random.Random, a: int, b: int) -> tuple[str, list[str], int]:
    if rng.random() < 0.3:
        text = loosen(rng, rng.choice(_DIVISION_ASKS).format(a * b, b))
    else:
        text = ask(rng, f"{a * b} / {b}")
    return text, [f"{a * b} / {b} = {a}"], a


def _product(rng: random.Random, a: int, b: int) -> tuple[str, list[str], int]:
    steps = long_product(a, b)
    if b < 10 and rng.random() < 0.4:
        a, b = b, a  # a product is asked either way round; its steps keep the long factor first
    if rng.random() < 0.25:
        return loosen(rng, rng.choice(_ASKS).format(a, b)), steps, a * b
    return ask(rng, f"{a} * {b}"), steps, a * b


def long_product(a: int, b: int) -> list[str]:
    """The steps of a product: one line for a one-digit factor, else tens, ones and their sum."""
    tens, ones = b // 10 * 10, b % 10
    if b <= 12 or ones == 0:
        return [f"{a} * {b} = {a * b}"]
    parts = [f"{a} * {tens} = {a * tens}", f"{a} * {ones} = {a * ones}"]
    return [*parts, f"{a * tens} + {a * ones} = {a * b}"]
