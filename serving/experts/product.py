"""Computes one rank's experts on the rows that are routed to them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grouped_mm, linear, silu

from serving.model.weights import ExpertWeights

_LOOP_ROWS = 8  # measured: below, a loop over hit experts; above, one grouped product


class ExpertProduct:
    def __init__(self, weights: ExpertWeights, experts: int) -> None:
        self._gate_up, self._down = weights.gate_up, weights.down
        self._gate_up_t, self._down_t = weights.gate_up.transpose(1, 2), weights.down.transpose(1, 2)
        self._held = len(weights.ids)
        # Place of every expert on this rank; those held elsewhere share the place behind the last.
        self._place = torch.full((experts,), self._held, dtype=torch.int64)
        self._place[list(weights.ids)] = torch.arange(self._held)

    def __call__(self, rows: Tensor, expert_ids: Tensor, weights: Tensor) -> Tensor:
        """[rows, hidden], [rows, k], [rows, k] → this rank's share of the mixture, [rows, hidden]."""
        summed = torch.zeros_like(rows)
        places = self._place[expert_ids.reshape(-1)]
        order = torch.argsort(places, stable=True)
        counts = torch.bincount(places, minlength=self._held + 1)
        own = len(places) - int(counts[-1])
        if own == 0:
            return summed
        order = order[:own]
        taken = torch.div(order, expert_ids.shape[1], rounding_mode="floor")
        multiply = self._by_loop if own <= _LOOP_ROWS else self._grouped
        products = multiply(rows[taken], counts[:-1])
        return summed.index_add_(0, taken, products * weights.reshape(-1)[order].unsqueeze(1))

    def _by_loop(self, rows: Tensor, counts: Tensor) -> Tensor:
        products, first = torch.empty_like(rows), 0
        for place, count in enumerate(counts.tolist()):
            if count:
                last = first + count
                inner = _activate(linear(rows[first:last], self._gate_up[place]))
                products[first:last] = linear(inner, self._down[place])
                first = last
        return products

    def _grouped(self, rows: Tensor, counts: Tensor) -> Tensor:
        ends = counts.cumsum(0).to(torch.int32)
        inner = _activate(grouped_mm(rows, self._gate_up_t, offs=ends))
        return grouped_mm(inner, self._down_t, offs=ends)


def _activate(gate_up: Tensor) -> Tensor:
    gate, up = gate_up.chunk(2, dim=-1)
    return silu(gate) * up
