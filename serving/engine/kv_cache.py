"""Holds the keys and values of one rank's sequences in blocks; which block is whose is the driver's knowledge."""

from __future__ import annotations

import torch
from torch import Tensor


class KvCache:
    """Per layer [blocks * block_size, 2 * kv_heads, head_dim]: keys, then values, of the token in that slot.

    Starts as zeros: masked slots weigh nothing, but an uninitialised NaN would weigh NaN.
    """

    def __init__(self, layers: int, blocks: int, block_size: int, kv_heads: int, head_dim: int) -> None:
        self._kv_heads, self._head_dim, self._block_size = kv_heads, head_dim, block_size
        self._layers = [torch.zeros(blocks * block_size, 2 * kv_heads, head_dim) for _ in range(layers)]

    def write(self, layer: int, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        """`slots` [tokens]; keys and values [tokens, kv_heads, head_dim]."""
        self._layers[layer].index_copy_(0, slots, torch.cat((keys, values), 1))

    def read(self, layer: int, tables: Tensor) -> tuple[Tensor, Tensor]:
        """Block tables [sequences, width] → keys, values [sequences, kv_heads, width * block_size, head_dim]."""
        sequences, width = tables.shape
        blocks = self._layers[layer].view(-1, self._block_size * 2 * self._kv_heads * self._head_dim)
        found = blocks.index_select(0, tables.reshape(-1))
        found = found.view(sequences, width * self._block_size, 2 * self._kv_heads, self._head_dim).transpose(1, 2)
        return found[:, : self._kv_heads], found[:, self._kv_heads :]
