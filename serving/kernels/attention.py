"""Attention of single tokens by the operator in C++, where it is loaded: the cache is read as it lies, once."""

from __future__ import annotations

import torch
from torch import Tensor

from serving.kernels.library import loaded

_LANES = 16  # floats of the widest vectors: heads that are no multiple of it are attended without the operator
UNBOUNDED = 1 << 40  # tokens; a window that ends nowhere


def attends(head_dim: int) -> bool:
    """Whether `attend_once` can be called, while a step is traced."""
    return torch.compiler.is_exporting() and loaded() and head_dim % _LANES == 0


def attend_once(
    queries: Tensor,
    rows: Tensor,
    tables: Tensor,
    positions: Tensor,
    *,
    block_size: int,
    key_heads: int,
    window: int,
    scale: float,
) -> Tensor:
    """fp32 [sequences, heads, dims] → [sequences, heads * dims]: each sees its position and `window` - 1 before it.

    `rows` [slots, 2 * key heads * dims] is a layer's cache, keys of every head before values of every head; int64
    `tables` [sequences, blocks] and `positions` [sequences]. Raises RuntimeError for blocks outside of the cache.
    """
    found: Tensor = torch.ops.countersign.attend_once(
        queries, rows, tables, positions, block_size, key_heads, window, scale
    )
    return found
