"""Turns messages into token ids, and tells which of them are the messages' own words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from serving.answer import PromptTrace
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


class PromptWriter:
    """`<|bos|>`, each message as role token and content, earlier answers closed by `<|eos|>`, then `<|assistant|>`."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Raises CheckpointError when a role token is missing."""
        self._vocabulary = vocabulary
        self._bos, self._eos = vocabulary.special("<|bos|>"), vocabulary.special("<|eos|>")
        roles: tuple[Role, ...] = ("system", "user", "assistant")
        self._roles = {role: vocabulary.special(f"<|{role}|>") for role in roles}

    def write(self, messages: Sequence[Message]) -> Prompt:
        ids, content = [self._bos], [False]
        for message in messages:
            words = self._vocabulary.encode(message.content)
            ids += [self._roles[message.role], *words]
            content += [False, *[True] * len(words)]
            if message.role == "assistant":
                ids.append(self._eos)
                content.append(False)
        return Prompt((*ids, self._roles["assistant"]), (*content, False))


def trace_prompt(tokens: int, logprobs: Sequence[float]) -> PromptTrace:
    """`logprobs` are those of the content tokens in order; shorter prompts than a window are one window."""
    if not logprobs or not all(math.isfinite(logprob) for logprob in logprobs):
        return PromptTrace(tokens, None, None)
    width = min(WINDOW, len(logprobs))
    windows = (sum(logprobs[start : start + width]) for start in range(len(logprobs) - width + 1))
    return PromptTrace(tokens, sum(logprobs) / len(logprobs), min(windows) / width)
