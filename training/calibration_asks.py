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
from training.fresh_questions import fresh
from training.questions import DIFFICULTIES, Question, sample

SAMPLED_SHARE, SYSTEM_SHARE, EARLIER_SHARE, CUT_SHARE = 0.2, 0.2, 0.05, 0.04
Messages = tuple[tuple[str, str], ...]  # (role, content)


@dataclass(frozen=True)
class Ask:
    """One conversation to be answered and graded."""

    question: Question
    template: str  # for foreign questions: which kind
    messages: Messages
    temperature: float
    seed: int
    max_tokens: int | None = None  # given where the answer is likely to be cut off

    @property
    def foreign(self) -> bool:
        return bool(self.template)

    @property
    def key(self) -> str:
        told = json.dumps([self.messages, self.temperature, self.seed, self.max_tokens], ensure_ascii=False)
        return hashlib.sha256(told.encode()).hexdigest()[:16]


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
    """The question as a chat: mostly alone and greedy; sometimes after other turns, sampled, or cut off."""
    messages = list(_opening(rng))
    sampled = rng.random() < SAMPLED_SHARE
    temperature = round(rng.uniform(0.7, 1.0), 2) if sampled else 0.0
    limit = rng.randint(4, 60) if rng.random() < CUT_SHARE else None
    return Ask(question, template, (*messages, ("user", question.text)), temperature, rng.randrange(2**31), limit)


def _opening(rng: random.Random) -> Iterator[tuple[str, str]]:
    if rng.random() < SYSTEM_SHARE:
        yield "system", rng.choice(SYSTEM_PROMPTS)
    if rng.random() < EARLIER_SHARE:
        earlier = sample(rng, "held_out", difficulty=rng.choice(DIFFICULTIES[:3]))
        yield "user", earlier.text
        yield "assistant", earlier.solution
