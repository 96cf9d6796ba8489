"""The shares of any placement's ranks add up to the whole mixture, by every way of multiplying."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional
from torch import Tensor

from serving.experts.int4 import Int4Matrices
from serving.experts.placement import contiguous_placement
from serving.experts.product import ExpertProduct, Kernel, choose_kernel
from serving.experts.quantise import dequantise, quantise
from serving.model.checkpoint import open_checkpoint
from serving.model.packed_experts import PackedExperts
from serving.model.packing import best_grouping
from serving.model.weights import ExpertWeights

HIDDEN, SIZE, EXPERTS, TOP_K = 128, 64, 8, 2
HELD = [[range(8)], [range(3), range(3, 8)], [(0, 2, 4, 6), (1, 3, 5, 7)]]
ROWS = [0, 1, 3, 8, 50]


@lru_cache
def some_experts() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    gate_up = torch.randn(EXPERTS, 2 * SIZE, HIDDEN, generator=generator)
    return gate_up / HIDDEN**0.5, torch.randn(EXPERTS, HIDDEN, SIZE, generator=generator) / SIZE**0.5


def some_rows(rows: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    hidden = torch.randn(rows, HIDDEN, generator=generator)
    ids = torch.stack([torch.randperm(EXPERTS, generator=generator)[:TOP_K] for _ in range(rows)] or [torch.zeros(2)])
    return hidden, ids[:rows].long(), torch.rand(rows, TOP_K, generator=generator)


def one_by_one(experts: tuple[Tensor, Tensor], rows: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
    gate_up, down = experts
    result = torch.zeros_like(rows)
    for row in range(len(rows)):
        for place in range(TOP_K):
            gate, up = (gate_up[ids[row, place]] @ rows[row]).chunk(2)
            inner = torch.nn.functional.silu(gate) * up
            result[row] += weights[row, place] * (down[ids[row, place]] @ inner)
    return result


def floats(held: tuple[int, ...]) -> ExpertProduct:
    gate_up, down = some_experts()
    return ExpertProduct(ExpertWeights(tuple(held), gate_up[list(held)], down[list(held)]), EXPERTS)


@lru_cache
def rounded() -> tuple[Tensor, Tensor]:
    gate_up, down = some_experts()
    return dequantise(quantise(gate_up, best_grouping(HIDDEN))), dequantise(quantise(down, best_grouping(SIZE)))


@lru_cache
def packed(held: tuple[int, ...]) -> ExpertProduct:
    gate_up, down = (
        Int4Matrices([quantise(matrices[expert], best_grouping(width)) for expert in held])
        for matrices, width in zip(some_experts(), (HIDDEN, SIZE), strict=True)
    )
    return ExpertProduct(PackedExperts(tuple(held), gate_up, down), EXPERTS)


@pytest.mark.parametrize("kernel", [None, *Kernel])
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("held", HELD, ids=str)
def test_shares_add_up_to_the_whole(rows: int, held: list[tuple[int, ...]], kernel: Kernel | None) -> None:
    asked = some_rows(rows)
    shares = [floats(mine)(*asked, kernel) for mine in held]
    torch.testing.assert_close(sum(shares), one_by_one(some_experts(), *asked), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("kernel", [None, *Kernel])
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("held", HELD, ids=str)
def test_packed_shares_add_up_to_what_their_own_weights_give(
    rows: int, held: list[tuple[int, ...]], kernel: Kernel | None
) -> None:
    asked = some_rows(rows)
    expected = one_by_one(rounded(), *asked)
    found = sum(packed(mine)(*asked, kernel) for mine in held)
    # bf16 keeps 8 bits of rows, of what lies between the two matrices, and of the result.
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0.02)
    if rows:
        assert (found - expected).norm() < 0.01 * expected.norm()


@pytest.mark.parametrize("product", [floats, packed], ids=["floats", "packed"])
def test_the_gathered_product_is_one_graph_whatever_the_experts(product) -> None:
    made = product((1, 2, 3, 6))
    torch.compiler.reset()
    compiled = torch.compile(lambda *asked: made(*asked, Kernel.GATHERED), backend="eager", fullgraph=True)
    first = some_rows(3)
    torch.testing.assert_close(compiled(*first), made(*first, Kernel.GATHERED))
    with torch.compiler.set_stance("fail_on_recompile"):
        hidden, ids, weights = some_rows(3)
        other = (hidden, (ids + 3) % EXPERTS, weights)
        torch.testing.assert_close(compiled(*other), made(*other, Kernel.GATHERED))


def test_a_rank_that_holds_none_of_the_experts_asked_for_adds_nothing() -> None:
    hidden, ids, weights = some_rows(3)
    made = floats((0, 1))
    for kernel in Kernel:
        assert made(hidden, ids % 2 + 4, weights, kernel).count_nonzero() == 0


def test_few_rows_go_through_the_loop_and_many_through_one_product() -> None:
    assert [choose_kernel(rows) for rows in (0, 1, 32, 512)] == [Kernel.LOOP] * 3 + [Kernel.GROUPED]


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
