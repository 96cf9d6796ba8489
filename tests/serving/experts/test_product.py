"""The shares of any placement's ranks add up to the whole mixture, by every way of multiplying."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional
from torch import Tensor

from serving.experts.int4 import Int4Matrices
from serving.experts.placement import contiguous_placement, copies_asked, holders_of
from serving.experts.plain_int4 import PlainInt4
from serving.experts.product import ExpertProduct, Kernel, choose_kernel
from serving.experts.quantise import dequantise, quantise
from serving.model.checkpoint import open_checkpoint
from serving.model.packed_experts import PackedExperts
from serving.model.packing import best_grouping
from serving.model.weights import ExpertWeights

pytestmark = pytest.mark.usefixtures("kernels")
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


def weights_in_floats(held: Sequence[int], places: int) -> ExpertWeights:
    gate_up, down = (torch.full((max(places, len(held)), *whole.shape[1:]), torch.nan) for whole in some_experts())
    gate_up[: len(held)], down[: len(held)] = (whole[list(held)] for whole in some_experts())
    return ExpertWeights(tuple(held), gate_up, down)


def packed_weights(held: Sequence[int], places: int) -> PackedExperts:
    gate_up, down = (
        Int4Matrices([quantise(whole[expert], best_grouping(width)) for expert in held], places)
        for whole, width in zip(some_experts(), (HIDDEN, SIZE), strict=True)
    )
    return PackedExperts(tuple(held), gate_up, down)


def plainly_packed_weights(held: Sequence[int], places: int) -> PackedExperts:
    gate_up, down = (
        PlainInt4.of([quantise(whole[expert], best_grouping(width)) for expert in held], places)
        for whole, width in zip(some_experts(), (HIDDEN, SIZE), strict=True)
    )
    return PackedExperts(tuple(held), gate_up, down)


def products_of(weights_of, held: list[Sequence[int]], places: int = 0) -> list[ExpertProduct]:
    return [ExpertProduct(weights_of(mine, places), EXPERTS) for mine in held]


def floats(held: tuple[int, ...]) -> ExpertProduct:
    return ExpertProduct(weights_in_floats(held, 0), EXPERTS)


@lru_cache
def rounded() -> tuple[Tensor, Tensor]:
    gate_up, down = some_experts()
    return dequantise(quantise(gate_up, best_grouping(HIDDEN))), dequantise(quantise(down, best_grouping(SIZE)))


@lru_cache
def packed(held: tuple[int, ...]) -> ExpertProduct:
    return ExpertProduct(packed_weights(held, 0), EXPERTS)


def plainly_packed(held: tuple[int, ...]) -> ExpertProduct:
    return ExpertProduct(plainly_packed_weights(held, 0), EXPERTS)


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


@pytest.mark.parametrize("kernel", [None, *Kernel])
@pytest.mark.parametrize("rows", ROWS)
def test_codes_in_plain_order_are_multiplied_in_full_precision(rows: int, kernel: Kernel | None) -> None:
    asked = some_rows(rows)
    found = sum(made(*asked, kernel) for made in products_of(plainly_packed_weights, HELD[1]))
    torch.testing.assert_close(found, one_by_one(rounded(), *asked), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("product", [floats, packed, plainly_packed], ids=["floats", "packed", "plainly packed"])
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


# By rank what it held and what it holds then, one place more than an even part: replicas come, are dropped, all moves.
MOVES = [
    ((range(4), (0, 2, 5, 6, 7)), (range(4, 8), (0, 1, 3, 4))),
    (((1, 3, 5, 7), (0, 2)), ((0, 2, 4, 6), range(1, 8, 1))),
]


@pytest.mark.parametrize("kernel", [None, *Kernel])
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("moves", MOVES, ids=str)
@pytest.mark.parametrize(
    "weights_of",
    [weights_in_floats, packed_weights, plainly_packed_weights],
    ids=["floats", "packed", "plainly packed"],
)
def test_shares_add_up_wherever_experts_have_moved(weights_of, moves, rows: int, kernel: Kernel | None) -> None:
    hidden, ids, weights = some_rows(rows)
    expected = products_of(weights_of, [range(EXPERTS)])[0](hidden, ids, weights, kernel)
    products = products_of(weights_of, [before for before, _ in moves], places=7)
    held = tuple(tuple(after) for _, after in moves)
    holders = holders_of(held, EXPERTS)
    for rank, made in enumerate(products):
        lacking = tuple(expert for expert in held[rank] if expert not in moves[rank][0])
        copies = [holders[expert].index(rank) * EXPERTS + expert for expert in held[rank]]
        made.hold(held[rank], copies, 2 * EXPERTS, weights_of(lacking, 0) if lacking else None)
    for owner in range(2):  # whose rows they are decides which copy is asked
        copies = torch.tensor(copies_asked(holders, owner, 2))[ids]
        found = sum(made(hidden, copies, weights, kernel) for made in products)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)


def test_what_does_not_come_cannot_be_held() -> None:
    (made,) = products_of(weights_in_floats, [range(4)], places=5)
    with pytest.raises(ValueError, match=r"\[6\] were to be held"):
        made.hold((0, 1, 6), (0, 1, 6), EXPERTS, None)


def test_few_rows_go_through_the_loop_and_many_through_one_product() -> None:
    rows = (0, 1, 32, 512)
    assert [choose_kernel(each, few=False) for each in rows] == [Kernel.LOOP] * 3 + [Kernel.GROUPED]
    assert [choose_kernel(each, few=True) for each in rows] == [Kernel.FEW] * 3 + [Kernel.GROUPED]


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
