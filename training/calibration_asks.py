"""Plans what to ask for a calibration: own and foreign questions, dressed as the chats they arrive in."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from training import foreign
from training.conversations import SYSTEM_PROMPTS
from training.questions import DIFFICULTIES, DOMAINS, Question, sample

SAMPLED_SHARE, SYSTEM_SHARE, EARLIER_SHARE = 0.2, 0.2, 0.05
Messages = tuple[tuple[str, str], ...]  # (role, content)


@dataclass(frozen=True)
class Ask:
    """One conversation to be answered and graded."""

    question: Question
    template: str  # for foreign questions: which kind
    messages: Messages
    temperature: float
    seed: int

    @property
    def foreign(self) -> bool:
        return bool(self.template)

    @property
    def key(self) -> str:
        told = json.dumps([self.messages, self.temperature, self.seed], ensure_ascii=False)
        return hashlib.sha256(told.encode()).hexdigest()[:16]


def is_for_measuring(text: str) -> bool:
    """Held-out questions are halved by their text: one half fits calibrations, the other is asked by benchmarks."""
    return hashlib.sha256(("measure:" + text).encode()).digest()[0] % 2 == 1


def fresh(rng: random.Random, for_measuring: bool) -> Question:
    """A held-out question of the wanted half; domain and difficulty are uniform."""
    domain, difficulty = rng.choice(tuple(DOMAINS)), rng.choice(DIFFICULTIES)
    while True:
        question = sample(rng, "held_out", domain, difficulty)
        if is_for_measuring(question.text) == for_measuring:
            return question


def plan(seed: int, own: int, foreign_count: int, gsm8k: Path | None = None) -> list[Ask]:
    """The asks of a collection, the same for the same seed, own and foreign ones mixed.

    `gsm8k`, a file of {"question": …} a line, adds a quarter more foreign questions; they count as one kind.
    """
    rng = random.Random(seed)
    asks = [dressed(rng, fresh(rng, for_measuring=False), "") for _ in range(own)]
    for index in range(foreign_count):
        template = foreign.TEMPLATES[index % len(foreign.TEMPLATES)]
        asks.append(dressed(rng, foreign.sample(rng, template), template[0]))
    if gsm8k:
        told = [json.loads(line)["question"] for line in gsm8k.read_text(encoding="utf-8").splitlines()]
        chosen = rng.sample(told, min(len(told), foreign_count // 4))
        asks += [dressed(rng, Question(text, "", "", "foreign", 0), "gsm8k") for text in chosen]
    rng.shuffle(asks)
    return asks


def dressed(rng: random.Random, question: Question, template: str) -> Ask:
    """The question as a chat: mostly alone and greedy, sometimes after a system prompt, an earlier turn, or sampled."""
    messages = list(_opening(rng))
    sampled = rng.random() < SAMPLED_SHARE
    temperature = round(rng.uniform(0.7, 1.0), 2) if sampled else 0.0
    return Ask(question, template, (*messages, ("user", question.text)), temperature, rng.randrange(2**31))


def _opening(rng: random.Random) -> Iterator[tuple[str, str]]:
    if rng.random() < SYSTEM_SHARE:
        yield "system", rng.choice(SYSTEM_PROMPTS)
    if rng.random() < EARLIER_SHARE:
        earlier = sample(rng, "held_out", difficulty=rng.choice(DIFFICULTIES[:3]))
        yield "user", earlier.text
        yield "assistant", earlier.solution
