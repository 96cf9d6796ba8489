"""Words around a bare expression, in the many ways people ask for one."""

import random

_ASKS = (
    "What is {}?",
    "What is {}?",
    "Compute {}.",
    "Calculate {}.",
    "{} = ?",
    "{}",
    "How much is {}?",
    "Evaluate {}.",
    "Work out {}.",
    "Find {}.",
    "What does {} equal?",
    "What do you get for {}?",
    "Please compute {}.",
    "Can you calculate {}?",
    "Could you work out {} for me?",
    "Tell me what {} is.",
    "Give me the value of {}.",
    "I need the result of {}.",
    "What is the value of {}?",
    "What is the result of {}?",
    "Solve {}.",
    "Hi, what is {}?",
)
_SPOKEN = {" + ": " plus ", " - ": " minus ", " * ": " times ", " / ": " divided by "}


def ask(rng: random.Random, expression: str) -> str:
    """Put a request around an expression such as `12 + 7 * 3`."""
    return loosen(rng, rng.choice(_ASKS).format(surface(rng, expression)))


def surface(rng: random.Random, expression: str) -> str:
    """Write an expression the way someone types it: spoken, without spaces, with a cross."""
    way = rng.random()
    if way < 0.08 and "(" not in expression:
        for symbol, word in _SPOKEN.items():
            expression = expression.replace(symbol, word)
    elif way < 0.20:
        expression = expression.replace(" ", "")
    elif way < 0.25:
        expression = expression.replace("*", "×").replace("/", "÷")
    elif way < 0.29:
        expression = expression.replace(" * ", " x ")
    return expression


def loosen(rng: random.Random, text: str) -> str:
    """Drop capitals or the closing mark now and then, as hurried people do."""
    if rng.random() < 0.08:
        text = text[0].lower() + text[1:]
    if rng.random() < 0.08:
        text = text.rstrip("?.").rstrip()
    return text
