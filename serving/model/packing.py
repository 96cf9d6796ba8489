"""Knows how experts are packed to 4 bits, and what their tensors are called; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

METHOD = "countersign-int4"  # the quant_method in config.json's quantization_config
SIZES = (32, 64, 128, 256)  # of groups, that torch's product can read
CODES, SCALES, ZEROS = ".codes", ".scales", ".zeros"  # behind the name of the matrices that they stand for
_TYPES = {CODES: "U8", SCALES: "BF16", ZEROS: "BF16"}  # as safetensors calls them


@dataclass(frozen=True, slots=True)
class Grouping:
    """`size` neighbouring inputs of a row share a bf16 scale, and a bf16 zero where there are zeros."""

    size: int
    zeros: bool

    @property
    def bits(self) -> float:
        """Of one weight, its share of scale and zero included."""
        return 4 + (32 if self.zeros else 16) / self.size


@dataclass(frozen=True, slots=True)
class ExpertPacking:
    gate_up: Grouping
    down: Grouping


def best_grouping(width: int) -> Grouping:
    """4.25 bits either way; the first is the faster one. Raises ValueError for inputs that neither divides."""
    for grouping in (Grouping(128, zeros=True), Grouping(64, zeros=False)):
        if width % grouping.size == 0:
            return grouping
    raise ValueError(f"experts with {width} inputs cannot be packed: a multiple of 64 is needed")


def packing_to_json(packing: ExpertPacking) -> dict[str, Any]:
    """The `quantization_config` that serving/model/families/expert_packing.py reads."""
    parts = {"gate_up_proj": packing.gate_up, "down_proj": packing.down}
    written = {name: {"group_size": part.size, "zeros": part.zeros} for name, part in parts.items()}
    return {"quant_method": METHOD, "bits": 4, "modules": "experts", **written}


def packed_shapes(name: str, experts: int, rows: int, width: int, grouping: Grouping) -> dict[str, tuple[int, ...]]:
    """The tensors that stand for [experts, rows, width]; two codes a byte, the first in its low half."""
    groups = (experts, rows, width // grouping.size)
    shapes: dict[str, tuple[int, ...]] = {name + CODES: (experts, rows, width // 2), name + SCALES: groups}
    return shapes | ({name + ZEROS: groups} if grouping.zeros else {})


def packed_type(name: str) -> str | None:
    """What a tensor of this name must hold; None: it is not of packed experts."""
    return next((kind for ending, kind in _TYPES.items() if name.endswith(ending)), None)
