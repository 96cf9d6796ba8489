"""Four bits hold what they can: codes come back exactly, and the rest within what the rounding costs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from serving.experts.quantise import dequantise, pack_pairs, quantise, unpack_pairs
from serving.model.packing import Grouping, best_grouping

GROUPINGS = [Grouping(128, zeros=True), Grouping(64, zeros=False), Grouping(32, zeros=True)]


def bell(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def error(weight: Tensor, grouping: Grouping) -> float:
    return float((dequantise(quantise(weight, grouping)) - weight).norm() / weight.norm())


def test_pairs_come_back_as_they_went() -> None:
    codes = torch.randint(0, 16, (3, 5, 64), dtype=torch.uint8)
    assert torch.equal(unpack_pairs(pack_pairs(codes)), codes)
    assert pack_pairs(torch.tensor([3, 15], dtype=torch.uint8)).tolist() == [0xF3]


@pytest.mark.parametrize("grouping", GROUPINGS, ids=str)
def test_what_sixteen_steps_can_say_is_kept_exactly(grouping: Grouping) -> None:
    steps = torch.arange(256).remainder(16).repeat(4, 1) - 8.0
    weight = steps * 0.25 + (3.0 if grouping.zeros else 0.0)
    torch.testing.assert_close(dequantise(quantise(weight, grouping)), weight, atol=0, rtol=0)


@pytest.mark.parametrize("grouping", GROUPINGS, ids=str)
def test_bell_shaped_weights_lose_a_tenth_and_the_parts_of_a_stack_are_rounded_alone(grouping: Grouping) -> None:
    weight = bell(3, 32, 256)
    assert 0.05 < error(weight, grouping) < 0.1
    whole = dequantise(quantise(weight, grouping))
    assert torch.equal(whole[1], dequantise(quantise(weight[1], grouping)))


@pytest.mark.parametrize("grouping", GROUPINGS, ids=str)
def test_cutting_off_the_ends_of_a_range_costs_less_than_keeping_them(grouping: Grouping) -> None:
    weight = bell(64, 256)
    groups = weight.reshape(64, -1, grouping.size)
    reach = groups.amax(-1) - groups.amin(-1) if grouping.zeros else 2 * groups.abs().amax(-1)
    step = reach.unsqueeze(-1) / 15
    kept = (torch.round(groups / step) * step - groups).norm() / weight.norm()  # all of the range, evenly
    assert error(weight, grouping) < 0.96 * float(kept)


def test_a_group_of_zeros_stays_zero() -> None:
    for grouping in GROUPINGS:
        assert error(torch.ones(2, 128) * 0.5, grouping) < 1e-6
        assert dequantise(quantise(torch.zeros(2, 128), grouping)).count_nonzero() == 0


def test_what_cannot_be_rounded_is_refused() -> None:
    with pytest.raises(ValueError, match="100 inputs are no whole number of groups of 64"):
        quantise(torch.zeros(2, 100), Grouping(64, zeros=False))
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not finite"):
            quantise(torch.full((2, 64), bad), Grouping(64, zeros=False))


def test_a_weight_takes_four_and_a_quarter_bits_whatever_the_width() -> None:
    assert [best_grouping(width) for width in (2048, 768, 64, 2880)] == [
        GROUPINGS[0],
        GROUPINGS[0],
        *GROUPINGS[1:2] * 2,
    ]
    assert {best_grouping(width).bits for width in (2048, 64)} == {4.25}
    with pytest.raises(ValueError, match="multiple of 64"):
        best_grouping(96)
