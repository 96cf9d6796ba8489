"""Keeps what later tokens need of earlier ones, in blocks; which block is whose is the driver's knowledge."""

from __future__ import annotations

import torch
from torch import Tensor


class KvCache:
    """Per layer [blocks * block_size, width]: the row of the token in that slot; only attention knows what it holds.

    Starts as zeros: masked slots weigh nothing, but an uninitialised NaN would weigh NaN. One block more than asked for
    is there at the end, which is nobody's: rows that only fill up a compiled step are written to it.
    """

    def __init__(self, layers: int, blocks: int, block_size: int, width: int) -> None:
        self._block_size = block_size
        self._layers = [torch.zeros((blocks + 1) * block_size, width) for _ in range(layers)]

    def write(self, layer: int, slots: Tensor, rows: Tensor) -> None:
        """`slots` [tokens]; rows [tokens, width]."""
        self._layers[layer].index_copy_(0, slots, rows)

    def read(self, layer: int, tables: Tensor) -> Tensor:
        """Block tables [sequences, blocks] → rows [sequences, blocks * block_size, width]."""
        return LayerCache(self._layers[layer], self._block_size).read(layer, tables)

    def rows(self, layer: int) -> Tensor:
        """All of a layer, [slots, width]."""
        return self._layers[layer]


class LayerCache:
    """One layer's rows alone, whatever layer is asked for: what is compiled sees no other."""

    def __init__(self, rows: Tensor, block_size: int) -> None:
        self._rows, self._block_size = rows, block_size

    def write(self, layer: int, slots: Tensor, rows: Tensor) -> None:
        self._rows.index_copy_(0, slots, rows)

    def read(self, layer: int, tables: Tensor) -> Tensor:
        sequences, blocks = tables.shape
        width = self._rows.shape[1]
        found = self._rows.view(-1, self._block_size * width).index_select(0, tables.reshape(-1))
        return found.view(sequences, blocks * self._block_size, width)
