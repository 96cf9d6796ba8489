"""Keeps what later tokens need of earlier ones, in blocks; which block is whose is the driver's knowledge."""

from __future__ import annotations

import torch
from torch import Tensor


class KvCache:
    """Per layer [blocks * block_size, width]: the row of the token in that slot; only attention knows what it holds.

    Starts as zeros: masked slots weigh nothing, but an uninitialised NaN would weigh NaN.
    """

    def __init__(self, layers: int, blocks: int, block_size: int, width: int) -> None:
        self._block_size, self._width = block_size, width
        self._layers = [torch.zeros(blocks * block_size, width) for _ in range(layers)]
        self._blocks = [layer.view(blocks, block_size * width) for layer in self._layers]  # the same memory

    def write(self, layer: int, slots: Tensor, rows: Tensor) -> None:
        """`slots` [tokens]; rows [tokens, width]."""
        self._layers[layer].index_copy_(0, slots, rows)

    def read(self, layer: int, tables: Tensor) -> Tensor:
        """Block tables [sequences, blocks] → rows [sequences, blocks * block_size, width]."""
        sequences, blocks = tables.shape
        found = self._blocks[layer].index_select(0, tables.reshape(-1))
        return found.view(sequences, blocks * self._block_size, self._width)
