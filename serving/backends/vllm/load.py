"""What vLLM tells of itself after each step."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class VllmLoad:
    """Of its last step; `steps` are all so far."""

    steps: int = 0
    last_step_at: float | None = None  # on time.monotonic()'s clock
    running: int = 0
    rows: int = 0  # tokens of the step
    kv_used: float = 0.0  # share of the cache's blocks

    def record(self, scheduler_stats: Any, iteration_stats: Any, *_: Any, **__: Any) -> None:
        """vLLM calls this after each of its steps."""
        self.steps += 1
        self.last_step_at = time.monotonic()
        if scheduler_stats is not None:
            self.running = scheduler_stats.num_running_reqs
            self.kv_used = scheduler_stats.kv_cache_usage
        if iteration_stats is not None:
            self.rows = iteration_stats.num_generation_tokens + iteration_stats.num_prompt_tokens

    def log_engine_initialized(self) -> None:
        """Nothing is counted before the first step."""

    def log(self) -> None:
        """Whoever wants the figures asks for them."""
