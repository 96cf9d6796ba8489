"""Knows sizes and time limits of handoffs and how one in shared memory divides its file; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from serving.experts.shm_layout import LINE
from serving.model.config import ModelConfig

SLOTS = 2  # steps that may lie between two stages: one is read while the next one is written


@dataclass(frozen=True, slots=True)
class HandoffLayout:
    """Two counters, of steps written and of steps read, each in a cache line; then the slots."""

    rows: int  # most of a step
    hidden: int

    @property
    def width(self) -> int:
        """Floats of a row: hidden, and the sum of its gates' entropies."""
        return self.hidden + 1

    @property
    def slots_at(self) -> int:
        return 2 * LINE

    @property
    def size(self) -> int:
        return self.slots_at + 4 * SLOTS * self.rows * self.width


def handoff_layout(config: ModelConfig, step_tokens: int) -> HandoffLayout:
    return HandoffLayout(step_tokens, config.hidden_size)


def time_limits(exchange_seconds: float, stage: int, stages: int) -> tuple[float, float]:
    """Seconds for receiving from the stage before, and for sending to the one after.

    Whoever is farther from a rank that stands still waits longer: its neighbour, which knows best who it is, tells
    first.
    """
    return exchange_seconds * (stage + 1), exchange_seconds * (stages - stage)
