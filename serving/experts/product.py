"""Computes one rank's experts on the rows that are routed to them, in the way that suits how many these are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from enum import Enum

import torch
from torch import Tensor
from torch.nn.functional import silu

from serving.experts.matrices import FloatMatrices, Matrices
from serving.experts.plain_int4 import PlainInt4
from serving.kernels.library import loaded
from serving.kernels.products import routed_experts, routed_experts_int4
from serving.model.packed_experts import PackedExperts
from serving.model.weights import ExpertWeights

_FEW_ROWS = 256  # above, grouping is as fast or faster
_LOOP_ROWS = 40  # measured with benchmarks/engine_products.py: above, grouping is as fast or faster


class Kernel(Enum):
    LOOP = "loop"  # one product for each expert that is hit
    GROUPED = "grouped"  # one product for all experts
    GATHERED = "gathered"  # each row with a copy of its expert: no shape depends on data, so it can be compiled
    FEW = "few"  # all of it in C++, where that is built: an expert that is hit is read once


def choose_kernel(rows: int, *, few: bool) -> Kernel:
    """`rows` counts a row once for each of its experts on this rank; `few`: whether the operators in C++ are there."""
    if few and rows <= _FEW_ROWS:
        return Kernel.FEW
    return Kernel.LOOP if rows <= _LOOP_ROWS else Kernel.GROUPED


class ExpertProduct:
    def __init__(self, weights: ExpertWeights | PackedExperts, experts: int) -> None:
        """Places beyond those of `weights.ids` are free for experts to come."""
        self._gate_up, self._down = _matrices(weights)
        self._experts, self._held = experts, self._gate_up.places
        self._holding: list[int | None] = [*weights.ids, *[None] * (self._held - len(weights.ids))]  # by place
        self._answer_to({expert: expert for expert in weights.ids}, experts)

    def hold(
        self, ids: Sequence[int], copies: Sequence[int], among: int, incoming: ExpertWeights | PackedExperts | None
    ) -> None:
        """From now on it holds the experts `ids`, each asked for by the id of its copy, of `among` such ids.

        `incoming` has those it lacks; they take the places of those that are given up.
        """
        self._holding = [expert if expert in ids else None for expert in self._holding]
        if incoming is not None:
            free = [place for place, expert in enumerate(self._holding) if expert is None]
            gate_up, down = _matrices(incoming)
            for number, (expert, place) in enumerate(zip(incoming.ids, free, strict=False)):
                self._gate_up.put(place, gate_up, number)
                self._down.put(place, down, number)
                self._holding[place] = expert
        if lacking := set(ids) - set(self._holding):
            raise ValueError(f"experts {sorted(lacking)} were to be held and did not come")
        self._answer_to(dict(zip(copies, ids, strict=True)), among)

    def _answer_to(self, expert_of: dict[int, int], among: int) -> None:
        place_of = {expert: place for place, expert in enumerate(self._holding)}
        # Place of every copy on this rank; those held elsewhere share the place behind the last.
        self._places = [self._held] * among
        for copy, expert in expert_of.items():
            self._places[copy] = place_of[expert]
        self._place = torch.tensor(self._places, dtype=torch.int64)
        self._asked = len(expert_of)

    def __call__(self, rows: Tensor, expert_ids: Tensor, weights: Tensor, kernel: Kernel | None = None) -> Tensor:
        """[rows, hidden], [rows, k] copies' ids, [rows, k] → this rank's share of the mixture, [rows, hidden].

        All fp32. Without a kernel the number of rows chooses one.
        """
        if not len(rows) or not self._asked:
            return torch.zeros_like(rows)
        own = expert_ids.numel() * self._asked // self._experts  # when all are hit alike
        by = {
            Kernel.LOOP: self._by_loop,
            Kernel.GROUPED: self._grouped,
            Kernel.GATHERED: self._gathered,
            Kernel.FEW: self._by_few,
        }[kernel or choose_kernel(own, few=loaded())]
        return by(rows, expert_ids, weights)

    def _by_loop(self, rows: Tensor, expert_ids: Tensor, weights: Tensor) -> Tensor:
        # In Python: for so few rows sorting and counting by tensors would take longer than the products.
        places = [self._places[expert] for expert in expert_ids.reshape(-1).tolist()]
        order = sorted((entry for entry, place in enumerate(places) if place < self._held), key=places.__getitem__)
        runs = list(Counter(places[entry] for entry in order).items())
        entries = torch.tensor(order, dtype=torch.int64)
        return self._share(rows, entries, weights, self._multiplying(lambda held, taken: held.by_runs(taken, runs)))

    def _grouped(self, rows: Tensor, expert_ids: Tensor, weights: Tensor) -> Tensor:
        places = self._place[expert_ids.reshape(-1)]
        counts = torch.bincount(places, minlength=self._held + 1)
        order = torch.argsort(places, stable=True)[: len(places) - int(counts[-1])]
        ends = counts[:-1].cumsum(0).to(torch.int32)
        return self._share(rows, order, weights, self._multiplying(lambda held, taken: held.grouped(taken, ends)))

    def _by_few(self, rows: Tensor, expert_ids: Tensor, weights: Tensor) -> Tensor:
        """Raises AttributeError where the operators are not loaded."""
        places = self._place[expert_ids]
        match self._gate_up, self._down:
            case FloatMatrices() as gate_up, FloatMatrices() as down:
                return routed_experts(rows, places, weights, gate_up.stacked, down.stacked)
            case PlainInt4() as gate_up, PlainInt4() as down:
                return routed_experts_int4(rows, places, weights, gate_up.tensors, down.tensors)
        return self._by_loop(rows, expert_ids, weights)  # packed in torch's own order

    def _share(self, rows: Tensor, order: Tensor, weights: Tensor, through: Callable[[Tensor], Tensor]) -> Tensor:
        """`order`: entries of [rows * k], an expert's beside each other."""
        if not len(order):
            return torch.zeros_like(rows)
        taken = torch.div(order, weights.shape[1], rounding_mode="floor")
        products = through(rows[taken]) * weights.reshape(-1)[order].unsqueeze(1)
        return torch.zeros_like(rows).index_add_(0, taken, products)

    def _gathered(self, rows: Tensor, expert_ids: Tensor, weights: Tensor) -> Tensor:
        places = self._place[expert_ids.reshape(-1)]
        own = torch.where(places < self._held, weights.reshape(-1), 0)  # other ranks' experts count nothing here
        places = torch.where(
            places < self._held, places, 0
        )  # there lies some expert, whereas free places hold anything
        each = rows.repeat_interleave(expert_ids.shape[1], dim=0)
        products = self._through(each, lambda held, taken: held.gathered(taken, places)) * own.unsqueeze(1)
        return products.view(*expert_ids.shape, rows.shape[1]).sum(1)

    def _multiplying(self, multiply: _Multiply) -> Callable[[Tensor], Tensor]:
        return lambda taken: self._through(taken, multiply)

    def _through(self, rows: Tensor, multiply: _Multiply) -> Tensor:
        gate, up = multiply(self._gate_up, rows).chunk(2, dim=-1)
        return multiply(self._down, silu(gate) * up)


_Multiply = Callable[[Matrices, Tensor], Tensor]


def _matrices(weights: ExpertWeights | PackedExperts) -> tuple[Matrices, Matrices]:
    if isinstance(weights, PackedExperts):
        return weights.gate_up, weights.down
    return FloatMatrices(weights.gate_up), FloatMatrices(weights.down)
