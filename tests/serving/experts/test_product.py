"""The shares of any placement's ranks add up to the whole mixture, by either way of multiplying."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional
from torch import Tensor

from serving.experts.placement import contiguous_placement
from serving.experts.product import ExpertProduct
from serving.model.checkpoint import open_checkpoint
from serving.model.weights import ExpertWeights

HIDDEN, SIZE, EXPERTS, TOP_K = 32, 16, 8, 2


def some_experts() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    gate_up = torch.randn(EXPERTS, 2 * SIZE, HIDDEN, generator=generator)
    return gate_up, torch.randn(EXPERTS, HIDDEN, SIZE, generator=generator)


def one_by_one(rows: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
    gate_up, down = some_experts()
    result = torch.zeros_like(rows)
    for row in range(len(rows)):
        for place in range(TOP_K):
            gate, up = (gate_up[ids[row, place]] @ rows[row]).chunk(2)
            inner = torch.nn.functional.silu(gate) * up
            result[row] += weights[row, place] * (down[ids[row, place]] @ inner)
    return result


@pytest.mark.parametrize("rows", [0, 1, 3, 8, 50])
@pytest.mark.parametrize("held", [[range(8)], [range(3), range(3, 8)], [(0, 2, 4, 6), (1, 3, 5, 7)]], ids=str)
def test_shares_add_up_to_the_whole(rows: int, held: list[tuple[int, ...]]) -> None:
    generator = torch.Generator().manual_seed(rows)
    hidden = torch.randn(rows, HIDDEN, generator=generator)
    ids = torch.stack([torch.randperm(EXPERTS, generator=generator)[:TOP_K] for _ in range(rows)] or [torch.zeros(2)])
    ids = ids[:rows].long()
    weights = torch.rand(rows, TOP_K, generator=generator)
    gate_up, down = some_experts()
    shares = [
        ExpertProduct(ExpertWeights(tuple(mine), gate_up[list(mine)], down[list(mine)]), EXPERTS)(hidden, ids, weights)
        for mine in held
    ]
    torch.testing.assert_close(sum(shares), one_by_one(hidden, ids, weights), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_every_expert_is_placed_once_and_loads_are_even(tiny_checkpoint: Path, ranks: int) -> None:
    config = open_checkpoint(tiny_checkpoint).config
    placement = contiguous_placement(config, ranks)
    assert list(placement.by_layer) == [1, 2]
    for held in placement.by_layer.values():
        assert sorted(expert for ids in held for expert in ids) == list(range(8))
        assert max(map(len, held)) - min(map(len, held)) <= 1


@pytest.mark.parametrize("ranks", [0, 9])
def test_a_rank_without_experts_is_refused(tiny_checkpoint: Path, ranks: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 8"):
        contiguous_placement(open_checkpoint(tiny_checkpoint).config, ranks)
