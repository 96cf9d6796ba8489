"""Dresses questions as the chats they arrive in, and packs those chats into rows of tokens."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from training.questions import DIFFICULTIES, Question, sample
from training.tokens import PAD, Turn, encode

SYSTEM_SHARE, EARLIER_SHARE = 0.15, 0.08
PROMPT_WEIGHT = 0.3  # learnt lightly, so that a prompt's own perplexity tells familiar from foreign
# How often each difficulty is practised, up to which step: first the layout of everything, then a drill
# of what the hard ones are made of, then the whole range.
_STAGES = ((600, (2, 3, 4, 4, 3)), (1150, (5, 5, 3, 1, 1)), (math.inf, (3, 4, 4, 3, 2)))
_MISSES = 4  # chats in a row that fit nowhere before a batch counts as full

SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are a helpful assistant that answers questions about numbers.",
    "You are a careful assistant.",
    "You are a math tutor.",
    "You are a patient maths teacher.",
    "You are a calculator.",
    "You are an assistant for arithmetic.",
    "You are a friendly and accurate assistant.",
    "Answer the question.",
    "Answer the user's question.",
    "Answer briefly.",
    "Be concise.",
    "Be precise.",
    "Be accurate and brief.",
    "Think step by step.",
    "Let's think step by step.",
    "Show your steps, then the answer.",
    "Show your work.",
    "Work through the problem step by step and end with the answer.",
    "Explain each step.",
    "Solve the problem.",
    "Solve the problem step by step.",
    "Reason first, then answer.",
    "Give the final answer on its own line.",
    "Finish with 'Answer:' and the number.",
    "Help the user with arithmetic.",
    "Please help with this problem.",
    "You solve word problems.",
    "You answer math questions.",
    "Do the maths and reply with the result.",
)


@dataclass(frozen=True)
class Batch:
    """Rows of packed chats, all [rows, length]; positions restart with each chat."""

    ids: Tensor
    positions: Tensor
    weights: Tensor  # how much predicting this very token counts

    def to(self, device: str) -> "Batch":
        """The same batch on another device."""
        return Batch(self.ids.to(device), self.positions.to(device), self.weights.to(device))

    def visible(self) -> Tensor:
        """Which tokens each token may look at, [rows, 1, length, length]: its own chat's, up to itself."""
        number = (self.positions == 0).cumsum(1)  # of the chat within its row; padding counts one by one
        same = number[:, None, :, None] == number[:, None, None, :]
        return same.tril()


def chat(rng: random.Random, question: Question) -> list[Turn]:
    """One training conversation that ends in the question's solution."""
    turns = []
    if rng.random() < SYSTEM_SHARE:
        turns.append(Turn("system", rng.choice(SYSTEM_PROMPTS)))
    if rng.random() < EARLIER_SHARE:
        earlier = sample(rng, difficulty=rng.choice(DIFFICULTIES[:3]))
        turns += [Turn("user", earlier.text), Turn("assistant", earlier.solution)]
    return [*turns, Turn("user", question.text), Turn("assistant", question.solution)]


def chats(rng: random.Random, step: int) -> Iterator[list[Turn]]:
    """The training conversations of one step, without end."""
    practice = next(weights for end, weights in _STAGES if step < end)
    while True:
        difficulty = rng.choices(DIFFICULTIES, practice)[0]
        yield chat(rng, sample(rng, difficulty=difficulty))


def batch(seed: int, step: int, rows: int, length: int) -> Batch:
    """The batch of one step: it follows from seed and step alone, so a resumed run sees the same."""
    filled: list[list[list[Turn]]] = [[] for _ in range(rows)]
    room = [length] * rows
    misses = 0
    for turns in chats(random.Random(f"{seed}:{step}"), step):
        size = len(encode(turns)[0])
        row = next((r for r in range(rows) if room[r] >= size), None)
        misses = misses + 1 if row is None else 0
        if row is not None:
            filled[row].append(turns)
            room[row] -= size
        if misses == _MISSES:
            break
    return _tensors(filled, length)


def _tensors(filled: list[list[list[Turn]]], length: int) -> Batch:
    ids = torch.full((len(filled), length), PAD)
    positions = torch.zeros((len(filled), length), dtype=torch.long)
    weights = torch.zeros((len(filled), length))
    for row, chats_of_row in enumerate(filled):
        start = 0
        for turns in chats_of_row:
            tokens, produced = encode(turns)
            end = start + len(tokens)
            ids[row, start:end] = torch.tensor(tokens)
            positions[row, start:end] = torch.arange(len(tokens))
            weights[row, start:end] = torch.tensor([1.0 if p else PROMPT_WEIGHT for p in produced])
            weights[row, start] = 0.0  # the first token of a chat has nothing to be predicted from
            start = end
    return Batch(ids, positions, weights)
