"""Products of few rows by the operators in C++, where they are loaded and quicker than what there is without them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from serving.kernels.library import loaded

_MOST = 8  # rows: for more the product that torch has is as quick


def linear(rows: Tensor, matrix: Tensor) -> Tensor:
    """[rows, in], [out, in] → [rows, out]; where it is traced for few rows, without packing the matrix."""
    if torch.compiler.is_exporting() and loaded() and rows.shape[0] <= _MOST:
        return few_rows(rows, matrix)
    return functional.linear(rows, matrix)


def few_rows(rows: Tensor, matrix: Tensor) -> Tensor:
    found: Tensor = torch.ops.countersign.few_rows(rows, matrix)
    return found


def few_rows_int4(rows: Tensor, codes: Tensor, scales: Tensor, place: int) -> Tensor:
    """Like few_rows, by the matrix at `place`; codes and scales as serving.experts.plain_int4 has them."""
    found: Tensor = torch.ops.countersign.few_rows_int4(rows, codes, scales, place)
    return found


def routed_experts(rows: Tensor, places: Tensor, weights: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """[rows, hidden] → [rows, hidden], the weighted sum of what experts make of each row.

    `places` int64 and `weights` [rows, k]; places outside of the stacks count nothing. All contiguous, fp32.
    """
    found: Tensor = torch.ops.countersign.routed_experts(rows, places, weights, gate_up, down)
    return found


def routed_experts_int4(
    rows: Tensor, places: Tensor, weights: Tensor, gate_up: tuple[Tensor, Tensor], down: tuple[Tensor, Tensor]
) -> Tensor:
    """Like routed_experts; codes and scales of each stack."""
    found: Tensor = torch.ops.countersign.routed_experts_int4(rows, places, weights, *gate_up, *down)
    return found
