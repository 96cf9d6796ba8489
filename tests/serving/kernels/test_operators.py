"""The operators in C++ give the plain sums, whatever the sizes, and a row's result is its own alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import silu

from serving.experts.plain_int4 import PlainInt4
from serving.experts.quantise import dequantise, quantise
from serving.kernels.products import few_rows, few_rows_int4, routed_experts, routed_experts_int4
from serving.model.packing import Grouping

pytestmark = pytest.mark.usefixtures("kernels")
GROUPINGS = [Grouping(128, zeros=True), Grouping(64, zeros=False), Grouping(32, zeros=True), Grouping(256, zeros=True)]
EXPERTS, HIDDEN, SIZE = 6, 72, 21  # no whole number of vectors or of rows that are completed together


def drawn(*sizes: int, seed: int = 0) -> Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed))


def plain(rows: Tensor, places: Tensor, weights: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """One after the other, in float64."""
    result = torch.zeros_like(rows, dtype=torch.float64)
    for row in range(len(rows)):
        for place, weight in zip(places[row].tolist(), weights[row].tolist(), strict=True):
            if 0 <= place < len(gate_up):
                gate, up = (gate_up[place].double() @ rows[row].double()).chunk(2)
                result[row] += weight * (down[place].double() @ (silu(gate) * up))
    return result


@pytest.mark.parametrize(("height", "width"), [(16, 64), (7, 77), (1, 3), (384, 256)])
@pytest.mark.parametrize("rows", [0, 1, 2, 5, 32])
def test_few_rows_times_a_matrix(rows: int, height: int, width: int) -> None:
    given, matrix = drawn(rows, width), drawn(height, width, seed=1)
    expected = (given.double() @ matrix.double().T).float()
    torch.testing.assert_close(few_rows(given, matrix), expected, atol=1e-5 * width**0.5, rtol=1e-5)


@pytest.mark.parametrize("width", [64, 192, 256, 768])
@pytest.mark.parametrize("grouping", GROUPINGS, ids=str)
def test_few_rows_times_codes(grouping: Grouping, width: int) -> None:
    if width % grouping.size:
        pytest.skip("no whole number of groups")
    quantised = quantise(drawn(3, 10, width, seed=2), grouping)
    made, given = PlainInt4.of([quantised_at(quantised, place) for place in range(3)]), drawn(6, width)
    expected = given.double() @ dequantise(quantised)[1].double().T
    found = few_rows_int4(given, *made.tensors, 1)
    torch.testing.assert_close(found, expected.float(), atol=2e-6 * width, rtol=1e-5)


def quantised_at(quantised, place: int):
    zeros = None if quantised.zeros is None else quantised.zeros[place]
    return type(quantised)(quantised.codes[place], quantised.scales[place], zeros)


CHOICES = {
    "one row": torch.tensor([[3, 1]]),
    "all to one expert": torch.full((9, 1), 4),
    "each to all": torch.arange(EXPERTS).repeat(3, 1),
    "several, one of them hit by nobody": torch.tensor([[0, 2], [2, 5], [5, 4], [4, 0], [3, 2]]),
    "some elsewhere": torch.tensor([[0, EXPERTS], [-1, 5], [EXPERTS + 7, EXPERTS]]),
    "32 rows, 8 each": torch.stack([torch.arange(8) * (row + 1) % EXPERTS for row in range(32)]),
    "no row": torch.zeros(0, 2, dtype=torch.int64),
}


@pytest.mark.parametrize("places", CHOICES.values(), ids=CHOICES)
def test_the_mixture_of_experts(places: Tensor) -> None:
    gate_up, down = drawn(EXPERTS, 2 * SIZE, HIDDEN, seed=3) / HIDDEN**0.5, drawn(EXPERTS, HIDDEN, SIZE, seed=4)
    rows, weights = 3 * drawn(len(places), HIDDEN), drawn(*places.shape, seed=5)
    expected = plain(rows, places, weights, gate_up, down)
    found = routed_experts(rows, places, weights, gate_up, down)
    torch.testing.assert_close(found.double(), expected, atol=2e-4, rtol=1e-5)


@pytest.mark.parametrize("places", CHOICES.values(), ids=CHOICES)
def test_the_mixture_of_packed_experts(places: Tensor) -> None:
    matrices = drawn(EXPERTS, 2 * 64, 128, seed=3) / 128**0.5, drawn(EXPERTS, 128, 64, seed=4)
    quantised = [quantise(one, grouping) for one, grouping in zip(matrices, GROUPINGS, strict=False)]
    gate_up, down = (PlainInt4.of([quantised_at(one, place) for place in range(EXPERTS)]) for one in quantised)
    rows, weights = drawn(len(places), 128), drawn(*places.shape, seed=5)
    expected = plain(rows, places, weights, *map(dequantise, quantised))
    found = routed_experts_int4(rows, places, weights, gate_up.tensors, down.tensors)
    torch.testing.assert_close(found.double(), expected, atol=2e-4, rtol=1e-5)


def test_silu_is_right_where_its_exponential_would_overflow() -> None:
    gates = torch.tensor([-1e4, -100.0, -88.0, -20.0, 0.0, 20.0, 88.0, 100.0, 1e4]).unsqueeze(1)
    matrices = torch.ones(1, 2, 1), torch.ones(1, 1, 1)
    ones = torch.ones(9, 1)
    found = routed_experts(gates, torch.zeros(9, 1, dtype=torch.int64), ones, *matrices)
    torch.testing.assert_close(found, silu(gates) * gates, atol=1e-30, rtol=1e-5)


def test_a_rows_result_does_not_depend_on_the_rows_beside_it() -> None:
    gate_up, down = drawn(EXPERTS, 2 * SIZE, HIDDEN, seed=3), drawn(EXPERTS, HIDDEN, SIZE, seed=4)
    rows, places, weights = drawn(8, HIDDEN), CHOICES["each to all"][:1].repeat(8, 1), drawn(8, EXPERTS, seed=5)
    together = routed_experts(rows, places, weights, gate_up, down)
    linear = few_rows(rows, gate_up[0])
    for first, last in ((0, 1), (1, 3), (3, 8)):
        alone = routed_experts(rows[first:last], places[first:last], weights[first:last], gate_up, down)
        assert torch.equal(alone, together[first:last])
        assert torch.equal(few_rows(rows[first:last], gate_up[0]), linear[first:last])


def test_what_does_not_fit_is_refused() -> None:
    matrix = drawn(4, 8)
    for rows in (drawn(2, 9), drawn(2, 8).double(), drawn(8, 2).T, drawn(8)):
        with pytest.raises(RuntimeError):
            few_rows(rows, matrix)
    with pytest.raises(RuntimeError):
        few_rows_int4(drawn(1, 64), torch.zeros(1, 4, 32, dtype=torch.uint8), torch.zeros(1, 4, 1, 1).bfloat16(), 1)
    gate_up, down, ones = drawn(2, 6, 8), drawn(2, 8, 3), torch.ones(2, 1)
    with pytest.raises(RuntimeError):
        routed_experts(drawn(2, 8), torch.zeros(1, 1, dtype=torch.int64), ones, gate_up, down)
    with pytest.raises(RuntimeError):
        routed_experts(drawn(2, 8), torch.zeros(2, 1, dtype=torch.int64), ones, gate_up, drawn(2, 8, 4))
    with pytest.raises(RuntimeError):
        routed_experts(drawn(2, 8), torch.zeros(2, 1, dtype=torch.int64), ones, gate_up, drawn(1, 8, 3))
