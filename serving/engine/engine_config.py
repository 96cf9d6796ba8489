"""The engine's sizes and time limits, with the defaults the reference model runs under."""

from __future__ import annotations

from dataclasses import dataclass, field

from serving.experts.rank_settings import ExchangeKind, best_exchange


@dataclass(frozen=True, slots=True)
class EngineConfig:
    ranks: int = 2
    exchange: ExchangeKind = field(default_factory=best_exchange)
    block_size: int = 16  # tokens
    kv_tokens: int = 16_384  # cache of one rank; memory is touched only as it fills
    step_tokens: int = 256  # most tokens of one rank in a step
    most_running: int = 16  # sequences of one rank that generate at once
    most_waiting: int = 64  # generations held beyond those, all ranks together
    start_seconds: float = 60.0
    step_seconds: float = 30.0  # a step that takes longer means a lost rank
    exchange_seconds: float = 10.0
    compiled: str = ""  # folder for compiled decode steps; none: they run eagerly

    @property
    def kv_blocks(self) -> int:
        return -(-self.kv_tokens // self.block_size)
