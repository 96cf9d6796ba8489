"""The engine's sizes and time limits, with the defaults the reference model runs under."""

from __future__ import annotations

from dataclasses import dataclass, field

from serving.experts.rank_settings import ExchangeKind, best_exchange

MUSTER_SECONDS = 5.0  # for a rank that is not lost to leave its step: the longest computation between two exchanges


@dataclass(frozen=True, slots=True)
class EngineConfig:
    ranks: int = 2  # of each stage; they share its experts and divide the sequences
    stages: int = 1  # of the pipeline; they share the layers
    exchange: ExchangeKind = field(default_factory=best_exchange)
    block_size: int = 16  # tokens
    kv_tokens: int = 16_384  # cache of one rank; memory is touched only as it fills
    step_tokens: int = 256  # most tokens of one rank in a step
    token_seconds: float = 0.05  # as long as a generated token may take; fewer run at once where it takes longer
    least_running: int = 4  # sequences that a rank runs at once however long their tokens take
    most_running: int = 16  # and however quickly they come
    most_waiting: int = 64  # generations held beyond those, all ranks together
    start_seconds: float = 60.0
    step_seconds: float = 30.0  # a step that takes longer means a lost rank
    exchange_seconds: float = 10.0
    muster_seconds: float = MUSTER_SECONDS
    compiled: str = ""  # folder for compiled decode steps; none: they run eagerly
    migrate: bool = True  # experts move between ranks when their load is uneven
    spare_experts: int = 0  # that a rank may hold of a layer beyond its even part: copies of the most loaded

    @property
    def places(self) -> int:
        """Processes of the gang. The ranks of stage 0 come first, then those of stage 1, and so on."""
        return self.stages * self.ranks

    @property
    def kv_blocks(self) -> int:
        return -(-self.kv_tokens // self.block_size)
