"""Turns messages into token ids, and tells which of them are the messages' own words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from serving.answer import PromptTrace
from serving.engine.chat_template import load_chat_template
from serving.engine.generation import Message, Role
from serving.engine.plan import NO_TARGET
from serving.engine.vocabulary import Vocabulary

WINDOW = 16  # content tokens


@dataclass(frozen=True, slots=True)
class Prompt:
    ids: tuple[int, ...]
    content: tuple[bool, ...]  # per id: part of a message's content, not a role token

    def targets(self) -> list[int]:
        """Per token: its successor when that is content, else NO_TARGET."""
        following = zip(self.ids[1:], self.content[1:], strict=True)
        return [token if content else NO_TARGET for token, content in following] + [NO_TARGET]


class Framing(Protocol):
    def around(self, roles: Sequence[Role]) -> list[list[int]]:
        """Ids before, between and after the contents: one list more than `roles`. Raises InvalidRequest."""


class RoleTokens:
    """`<|bos|>`, each message after its role token, earlier answers closed by `<|eos|>`, then `<|assistant|>`."""

    NAMES = ("<|bos|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>")

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Raises CheckpointError when a role token is missing."""
        self._bos, self._eos = vocabulary.special("<|bos|>"), vocabulary.special("<|eos|>")
        roles: tuple[Role, ...] = ("system", "user", "assistant")
        self._roles = {role: vocabulary.special(f"<|{role}|>") for role in roles}

    def around(self, roles: Sequence[Role]) -> list[list[int]]:
        framing = [[self._bos]]
        for role in roles:
            framing[-1].append(self._roles[role])
            framing.append([self._eos] if role == "assistant" else [])
        framing[-1].append(self._roles["assistant"])
        return framing


class PromptWriter:
    def __init__(self, vocabulary: Vocabulary, framing: Framing) -> None:
        self._vocabulary, self._framing = vocabulary, framing

    def write(self, messages: Sequence[Message]) -> Prompt:
        """Contents are encoded apart from what frames them, so that none can become framing. Raises InvalidRequest."""
        before, *following = self._framing.around([message.role for message in messages])
        ids, content = [*before], [False] * len(before)
        for message, after in zip(messages, following, strict=True):
            words = self._vocabulary.encode(message.content)
            ids += [*words, *after]
            content += [True] * len(words) + [False] * len(after)
        return Prompt(tuple(ids), tuple(content))


def open_prompt_writer(vocabulary: Vocabulary, directory: Path) -> PromptWriter:
    """With our five role tokens, else with the checkpoint's own chat template. Raises CheckpointError."""
    if all(vocabulary.has(token) for token in RoleTokens.NAMES):
        return PromptWriter(vocabulary, RoleTokens(vocabulary))
    return PromptWriter(vocabulary, load_chat_template(directory, vocabulary))


def trace_prompt(tokens: int, logprobs: Sequence[float]) -> PromptTrace:
    """`logprobs` are those of the content tokens in order; shorter prompts than a window are one window."""
    if not logprobs or not all(math.isfinite(logprob) for logprob in logprobs):
        return PromptTrace(tokens, None, None)
    width = min(WINDOW, len(logprobs))
    windows = (sum(logprobs[start : start + width]) for start in range(len(logprobs) - width + 1))
    return PromptTrace(tokens, sum(logprobs) / len(logprobs), min(windows) / width)
