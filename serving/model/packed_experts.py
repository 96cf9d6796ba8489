"""Loads the experts of a packed checkpoint that a rank holds: codes, scales and zeros of each, and of no other."""

from __future__ import annotations

from dataclasses import dataclass

from serving.experts.int4 import Int4Matrices
from serving.experts.plain_int4 import PlainInt4
from serving.experts.quantise import Quantised
from serving.kernels.library import loaded
from serving.model.layout import Shapes
from serving.model.packing import CODES, SCALES, ZEROS
from serving.model.tensor_files import TensorFiles


@dataclass(frozen=True, slots=True)
class PackedExperts:
    """The experts of one layer that this rank holds, in the order of `ids`."""

    ids: tuple[int, ...]
    gate_up: Int4Matrices | PlainInt4  # [2 * size, hidden] each
    down: Int4Matrices | PlainInt4  # [hidden, size] each

    @property
    def parameters(self) -> int:
        return self.gate_up.parameters + self.down.parameters


def load_packed_experts(
    files: TensorFiles, at: str, held: tuple[int, ...], shapes: Shapes, places: int = 0
) -> PackedExperts:
    """`at` ends with "experts."; `places`: room for so many, if more than those held.

    Raises CheckpointError for a missing, misshapen or mistyped tensor.
    """
    gate_up, down = (_matrices(files, at + name, held, shapes, places) for name in ("gate_up_proj", "down_proj"))
    return PackedExperts(held, gate_up, down)


def _matrices(
    files: TensorFiles, name: str, held: tuple[int, ...], shapes: Shapes, places: int
) -> Int4Matrices | PlainInt4:
    codes, scales = (files.packed_of(name + ending, shapes[name + ending]) for ending in (CODES, SCALES))
    zeros = files.packed_of(name + ZEROS, shapes[name + ZEROS]) if name + ZEROS in shapes else None
    parts = [Quantised(codes[one], scales[one], None if zeros is None else zeros[one]) for one in held]
    return PlainInt4.of(parts, places) if loaded() else Int4Matrices(parts, places)
