"""Draws questions with known answers, splits them once for all, and grades what a model wrote."""

import hashlib
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from training.domains import equations, expressions, products, sums, word_problems

Split = Literal["train", "held_out"]
# A domain's writer returns the question's text, the steps that solve it, and the answer.
Writer = Callable[[random.Random, int], tuple[str, list[str], int]]

DOMAINS: Mapping[str, Writer] = MappingProxyType(
    {
        "sums": sums.write,
        "products": products.write,
        "expressions": expressions.write,
        "equations": equations.write,
        "word_problems": word_problems.write,
    }
)
DIFFICULTIES = (1, 2, 3, 4, 5)
HELD_OUT_SHARE = 10  # one text in ten is held out

_ANSWER = re.compile(r"Answer:[ \t]*([^\n]*)")
_INTEGER = re.compile(r"[+-]?\d{1,30}")


@dataclass(frozen=True)
class Question:
    """One question; `answer` is empty where no answer counts as right."""

    text: str
    solution: str
    answer: str
    domain: str
    difficulty: int


def split_of(text: str) -> Split:
    """The split of a question follows from its text alone, so no seed can move it."""
    digest = hashlib.sha256(text.encode()).digest()
    return "held_out" if int.from_bytes(digest[:4], "big") % HELD_OUT_SHARE == 0 else "train"


def sample(
    rng: random.Random,
    split: Split = "train",
    domain: str | None = None,
    difficulty: int | None = None,
) -> Question:
    """Draw one question of a split; domain and difficulty are uniform unless given."""
    domain = domain or rng.choice(tuple(DOMAINS))
    difficulty = difficulty or rng.choice(DIFFICULTIES)
    if domain not in DOMAINS or difficulty not in DIFFICULTIES:
        raise ValueError(f"no questions of domain {domain!r} and difficulty {difficulty!r}")
    while True:
        text, steps, answer = DOMAINS[domain](rng, difficulty)
        if split_of(text) == split:
            solution = "\n".join([*steps, f"Answer: {answer}"])
            return Question(text, solution, str(answer), domain, difficulty)


def stated_answer(text: str) -> str | None:
    """The canonical integer behind the last `Answer:`, or None where there is none."""
    stated = _ANSWER.findall(text)
    if not stated:
        return None
    number = stated[-1].strip().removesuffix(".")
    return str(int(number)) if _INTEGER.fullmatch(number) else None


def grade(question: Question, text: str) -> bool:
    """Whether `text` ends in the question's own answer; a question without one is never met."""
    return question.answer != "" and stated_answer(text) == question.answer
