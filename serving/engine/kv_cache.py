"""Keeps what later tokens need of earlier ones, in blocks; which block is whose is the driver's knowledge."""

from __future__ import annotations

import torch
from torch import Tensor

from serving.model.huge_pages import in_huge_pages


class KvCache:
    """Per layer [blocks * block_size, width]: the row of the token in that slot; only attention knows what it holds.

    Starts as zeros: masked slots weigh nothing, but an uninitialised NaN would weigh NaN. One block more than asked for
    is there at the end, which is nobody's: rows that only fill up a compiled step are written to it.
    """

    def __init__(self, layers: int, blocks: int, block_size: int, width: int) -> None:
        self._block_size = block_size
        slots = (blocks + 1) * block_size
        self._layers = [in_huge_pages(torch.empty(slots, width)).zero_() for _ in range(layers)]

    def write(self, layer: int, slots: Tensor, rows: Tensor) -> None:
        """`slots` [tokens]; rows [tokens, width]."""
        self._layers[layer].index_copy_(0, slots, rows)

    def read(self, layer: int, tables: Tensor) -> Tensor:
        """Block tables [sequences, blocks] → rows [sequences, blocks * block_size, width]."""
        sequences, blocks = tables.shape
        rows, size = self._layers[layer], self._block_size
        found = rows.view(-1, size * rows.shape[1]).index_select(0, tables.reshape(-1))  # whole blocks are copied
        return found.view(sequences, blocks * size, -1)

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
        places = tables.unsqueeze(2) * self._block_size + torch.arange(self._block_size)
        return self._rows[places.flatten(1)]  # one by one: the compiler fuses this with what is done with them

    def rows(self, layer: int) -> Tensor:
        return self._rows
