"""Loads the experts of a packed checkpoint that a rank holds: codes, scales and zeros of each, and of no other."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from serving.experts.int4 import Int4Matrices
from serving.experts.quantise import Quantised
from serving.model.config import CheckpointError, ModelConfig
from serving.model.packing import CODES, SCALES, ZEROS, ExpertPacking, packed_shapes
from serving.model.tensor_files import Shapes, TensorFiles

_TYPES = {CODES: "U8", SCALES: "BF16", ZEROS: "BF16"}  # as safetensors calls them


@dataclass(frozen=True, slots=True)
class PackedExperts:
    """The experts of one layer that this rank holds, in the order of `ids`."""

    ids: tuple[int, ...]
    gate_up: Int4Matrices  # [2 * size, hidden] each
    down: Int4Matrices  # [hidden, size] each

    @property
    def parameters(self) -> int:
        return self.gate_up.parameters + self.down.parameters


def load_packed_experts(
    files: TensorFiles, at: str, held: tuple[int, ...], config: ModelConfig, packing: ExpertPacking
) -> PackedExperts:
    """`at` ends with "experts."; raises CheckpointError for a missing, misshapen or mistyped tensor."""
    shapes = packed_shapes(at, config, packing)
    gate_up = [_one(files, at + "gate_up_proj", shapes, expert) for expert in held]
    down = [_one(files, at + "down_proj", shapes, expert) for expert in held]
    return PackedExperts(held, Int4Matrices(gate_up, config.hidden_size), Int4Matrices(down, config.expert_size))


def _one(files: TensorFiles, name: str, shapes: Shapes, expert: int) -> Quantised:
    def part(ending: str) -> Tensor:
        found = files.slice_of(name + ending, shapes[name + ending])
        if found.get_dtype() != _TYPES[ending]:
            kind = found.get_dtype()
            raise CheckpointError(f"The tensor {name}{ending} has type {kind}, not {_TYPES[ending]}: pack again.")
        tensor: Tensor = found[expert]
        return tensor

    return Quantised(part(CODES), part(SCALES), part(ZEROS) if name + ZEROS in shapes else None)
