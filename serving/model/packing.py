"""Knows how a checkpoint says that its experts are packed to 4 bits, and what tensors they then are; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.model.config import CheckpointError, ModelConfig, read_json

METHOD = "countersign-int4"
CODES, SCALES, ZEROS = ".codes", ".scales", ".zeros"  # behind the name of the matrices that they stand for
_SIZES = (32, 64, 128, 256)  # that torch's product can read


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


def read_packing(directory: Path) -> ExpertPacking | None:
    """None for a checkpoint in plain floats. Raises CheckpointError for a scheme that is not read here."""
    found = read_json(directory / "config.json").get("quantization_config")
    if found is None:
        return None
    method = found.get("quant_method") if isinstance(found, dict) else found
    if method != METHOD:
        raise CheckpointError(
            f"{directory}/config.json says that weights are packed by {method!r}, and only {METHOD!r} is read here: "
            "choose another checkpoint."
        )
    try:
        return ExpertPacking(_grouping(found, "gate_up_proj"), _grouping(found, "down_proj"))
    except ValueError as error:
        raise CheckpointError(
            f"{directory}/config.json misstates how experts are packed ({error}): pack again."
        ) from error


def packing_to_json(packing: ExpertPacking) -> dict[str, Any]:
    """The `quantization_config` that read_packing understands."""
    parts = {"gate_up_proj": packing.gate_up, "down_proj": packing.down}
    written = {name: {"group_size": part.size, "zeros": part.zeros} for name, part in parts.items()}
    return {"quant_method": METHOD, "bits": 4, "modules": "experts", **written}


def packed_shapes(at: str, config: ModelConfig, packing: ExpertPacking) -> dict[str, tuple[int, ...]]:
    """The tensors that hold a layer's experts, by name; `at` ends with "experts."."""
    sizes = {
        "gate_up_proj": (2 * config.expert_size, config.hidden_size, packing.gate_up),
        "down_proj": (config.hidden_size, config.expert_size, packing.down),
    }
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (rows, width, grouping) in sizes.items():
        groups = (config.experts, rows, width // grouping.size)
        shapes[at + name + CODES] = (config.experts, rows, width // 2)  # two codes a byte, the first in its low half
        shapes[at + name + SCALES] = groups
        if grouping.zeros:
            shapes[at + name + ZEROS] = groups
    return shapes


def _grouping(data: dict[str, Any], name: str) -> Grouping:
    if data.get("bits") != 4:
        raise ValueError(f"bits must be 4, not {data.get('bits')!r}")
    part = data.get(name)
    size, zeros = (part.get("group_size"), part.get("zeros")) if isinstance(part, dict) else (None, None)
    if size not in _SIZES or not isinstance(zeros, bool):
        raise ValueError(f"{name} needs a group_size of {_SIZES} and zeros true or false")
    return Grouping(size, zeros)
