"""The marks that the engine is to reach, and which of them a measurement misses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Mark:
    """A promise about one figure; `read` takes it out of all figures, and raises KeyError where it was not measured."""

    name: str
    limit: float
    at_least: bool
    read: Callable[[Figures], float | None]

    def reached(self, figures: Figures) -> bool:
        """A figure that could not be found in the noise is not reached."""
        found = self.read(figures)
        return found is not None and (found >= self.limit if self.at_least else found <= self.limit)

    @property
    def words(self) -> str:
        return f"{'at least' if self.at_least else 'at most'} {self.limit:g}"


def _least(name: str, limit: float) -> Mark:
    return Mark(name, limit, True, lambda figures: figures[name])


def _most(name: str, limit: float) -> Mark:
    return Mark(name, limit, False, lambda figures: figures[name])


MARKS = (
    _least("over_transformers_b1", 6.0),
    _least("over_transformers_b8", 4.5),
    _least("over_vllm_b1", 3.0),
    _least("over_vllm_b8", 1.8),
    _least("over_llamacpp_b1", 0.4),
    _least("over_llamacpp_b32", 0.6),
    _least("ranks2_over_ranks1", 1.3),
    _least("adaptive_qps_ratio", 1.4),
    _most("adaptive_p99_ms", 200.0),
    _most("int4_bytes_ratio", 0.27),
    _least("int4_product_ratio", 2.3),
    _least("int4_product_ratio_1row", 1.2),
    _least("attention_saving", 0.6),
    _most("overhead_p50_ms", 5.0),
    Mark("repair_s with a spare", 3.0, False, lambda figures: figures["repair_s"]["with_spare"]),
    Mark("repair_s without", 20.0, False, lambda figures: figures["repair_s"]["without"]),
    _most("signals_share", 0.02),
    _most("memory_growth_mib", 8.0),
)


def measured(figures: Figures) -> list[Mark]:
    """Those whose figure is there."""
    return [mark for mark in MARKS if _is_there(mark, figures)]


def missed(figures: Figures) -> list[str]:
    return [mark.name for mark in measured(figures) if not mark.reached(figures)]


def _is_there(mark: Mark, figures: Figures) -> bool:
    try:
        mark.read(figures)
    except KeyError:
        return False
    return True
