"""Knows what one rank's process needs to be told before it starts: plain values that travel to another process."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from typing import Literal

ExchangeKind = Literal["shm", "gloo"]


def best_exchange() -> ExchangeKind:
    """Shared memory where the processor keeps the order of stores that it relies on (x86-64), gloo elsewhere."""
    return "shm" if platform.machine() in ("x86_64", "AMD64") else "gloo"


@dataclass(frozen=True, slots=True)
class RankSettings:
    """The same for every rank of a gang and for its spares: the driver says later which place a process takes."""

    ranks: int  # of each stage
    stages: int
    checkpoint: str
    control_path: str  # AF_UNIX socket of the driver
    exchange: ExchangeKind
    step_tokens: int  # most tokens this rank is given in one step
    kv_blocks: int
    block_size: int  # tokens in a block of the KV cache
    exchange_seconds: float  # limit for every exchange between ranks
    most_running: int  # sequences it generates at a time
    compiled: str = ""  # folder in which compiled decode steps are kept; none: they run eagerly
    spare_experts: int = 0  # of a layer, that this rank has room for beyond its even part


def settings_to_json(settings: RankSettings) -> str:
    return json.dumps(asdict(settings))


def settings_from_json(text: str) -> RankSettings:
    """Raises TypeError or ValueError when fields are missing or unknown."""
    return RankSettings(**json.loads(text))
