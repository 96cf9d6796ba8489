"""Decides how many sequences a rank runs at once and how much of a prompt a step reads, from how long steps take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from serving.engine.step_model import StepModel

_STRETCH = 2.0  # a step that reads prompts may take this many times the target: the limit on sequences keeps the mean
_LONGEST = 4.0  # times the target; what a step takes beyond tells of the machine, not of what was in it
_GROWTH = 2.0  # times the rows seen lately: the model is not believed further
_FORGETTING = 0.99  # of those rows, each step


class Limits(Protocol):
    """What the scheduler asks before each step."""

    @property
    def running(self) -> int:
        """Sequences that one rank may run."""
        ...

    def chunk(self, rows: int) -> int:
        """Prompt tokens that one rank may read in a step in which some rank generates for `rows` sequences."""
        ...

    def observe(self, rows: int, tokens: int, seconds: float) -> None:
        """A step with at most `rows` generating sequences and `tokens` prompt tokens on one rank took so long."""
        ...


@dataclass(frozen=True, slots=True)
class FixedLimits:
    running: int
    step_tokens: int

    def chunk(self, rows: int) -> int:
        return self.step_tokens

    def observe(self, rows: int, tokens: int, seconds: float) -> None:
        """They stay as they are."""


class BatchLimit:
    """Follows a target for the time of a generated token: each sequence that generates gets one every step.

    No clock is read here: the same steps in the same times give the same limits.
    """

    def __init__(
        self, target_seconds: float, least_running: int, most_running: int, least_chunk: int, step_tokens: int
    ) -> None:
        """`least_running` is granted however slow the machine is, and so is `least_chunk`, so that all ends."""
        self._target = target_seconds
        self._least, self._most = min(least_running, most_running), most_running
        self._least_chunk, self._step_tokens = min(least_chunk, step_tokens), step_tokens
        self._model = StepModel(target_seconds / most_running, target_seconds / step_tokens)
        self._seen = 0.0  # rows, lately
        self._running = self._least

    @property
    def running(self) -> int:
        return self._running

    def chunk(self, rows: int) -> int:
        if not rows:
            return self._step_tokens  # nobody waits for the next token
        left = _STRETCH * self._target - self._model.base - self._model.row_seconds * rows
        return min(self._step_tokens, max(self._least_chunk, int(left / self._model.token_seconds)))

    def observe(self, rows: int, tokens: int, seconds: float) -> None:
        self._model.learn(rows, tokens, min(seconds, _LONGEST * self._target))
        self._seen = max(float(rows), _FORGETTING * self._seen)
        self._running = max(self._least, min(self._most, int(_GROWTH * self._seen), self._affordable()))

    def _affordable(self) -> int:
        """Sequences with whose share of prompts a mean step takes as long as the target."""
        model = self._model
        prompts = model.tokens / model.rows if model.rows else 0.0  # tokens a step for each row that generates
        return int((self._target - model.base) / (model.row_seconds + model.token_seconds * prompts))
