"""Linear equations in one unknown with an integer solution."""

import random

from training.domains.phrasing import loosen

_LARGEST = {1: 20, 2: 12, 3: 20, 4: 60, 5: 200}
_ASKS = (
    "Solve {e} for {v}.",
    "Solve {e}.",
    "Solve for {v}: {e}",
    "If {e}, what is {v}?",
    "Find {v} if {e}.",
    "{e}. What is {v}?",
    "What is {v} when {e}?",
    "Which {v} satisfies {e}?",
    "Given {e}, find {v}.",
)


def write(rng: random.Random, difficulty: int) -> tuple[str, list[str], int]:
    """One equation whose steps isolate the unknown."""
    unknown = rng.choice("xxxxyzn")
    x = rng.randint(1, _LARGEST[difficulty])
    equation, steps = (_shifted, _scaled, _both, _two_sided, _bracketed)[difficulty - 1](rng, unknown, x)
    asked = rng.choice(_ASKS).format(e=equation, v=unknown)
    return loosen(rng, asked), [*steps, f"{unknown} = {x}"], x


def _shifted(rng: random.Random, v: str, x: int) -> tuple[str, list[str]]:
    a = rng.randint(1, 30)
    if rng.random() < 0.35:
        return f"{v} - {a} = {x - a}", [f"{x - a} + {a} = {x}"]
    left = rng.choice((f"{v} + {a}", f"{a} + {v}"))
    return f"{left} = {x + a}", [f"{x + a} - {a} = {x}"]


def _scaled(rng: random.Random, v: str, x: int) -> tuple[str, list[str]]:
    a = rng.randint(2, 12)
    left = rng.choice((f"{a} * {v}", f"{a}{v}"))
    return f"{left} = {a * x}", [f"{a * x} / {a} = {x}"]


def _both(rng: random.Random, v: str, x: int) -> tuple[str, list[str]]:
    a, b = rng.randint(2, 9), rng.randint(1, 60)
    total = a * x + b
    left = rng.choice((f"{a} * {v}", f"{a}{v}"))
    return f"{left} + {b} = {total}", [f"{total} - {b} = {a * x}", f"{a * x} / {a} = {x}"]


def _two_sided(rng: random.Random, v: str, x: int) -> tuple[str, list[str]]:
    c = rng.randint(2, 6)
    k = rng.randint(2, 9)
    d = rng.randint(k * x + 1, k * x + 90)
    steps = [f"{c + k} - {c} = {k}", f"{d} - {d - k * x} = {k * x}", f"{k * x} / {k} = {x}"]
    return f"{c + k}{v} + {d - k * x} = {c}{v} + {d}", steps


def _bracketed(rng: random.Random, v: str, x: int) -> tuple[str, list[str]]:
    a, b, c = rng.randint(3, 19), rng.randint(11, 400), rng.randint(11, 900)
    product = a * (x + b)
    steps = [
        f"{product + c} - {c} = {product}",
        f"{product} / {a} = {x + b}",
        f"{x + b} - {b} = {x}",
    ]
    return f"{a} * ({v} + {b}) + {c} = {product + c}", steps
