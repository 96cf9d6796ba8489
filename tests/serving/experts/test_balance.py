"""Any load gives a placement that holds every expert, fits, and is never less even than the former one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from serving.experts.balance import balanced, computing_ranks, layers_imbalance, rank_loads, rebalanced
from serving.experts.placement import (
    Held,
    Placement,
    copies_asked,
    even_bounds,
    holders_of,
    placement_from_json,
    placement_to_json,
    slots_of,
)


def contiguous(experts: int, ranks: int) -> Held:
    bounds = even_bounds(experts, ranks)
    return tuple(tuple(range(bounds[rank], bounds[rank + 1])) for rank in range(ranks))


@st.composite
def loads(draw: st.DrawFn) -> tuple[np.ndarray, int, int]:
    """[owners, layers, experts], ranks, places; often a few experts have nearly all rows."""
    ranks = draw(st.integers(1, 6))
    experts, layers = draw(st.integers(ranks, 24)), draw(st.integers(1, 3))
    rows = st.one_of(st.integers(0, 5), st.integers(0, 3000))
    cells = draw(st.lists(rows, min_size=ranks * layers * experts, max_size=ranks * layers * experts))
    return (
        np.array(cells, float).reshape(ranks, layers, experts),
        ranks,
        slots_of(experts, ranks, draw(st.integers(0, 2))),
    )


@given(loads())
def test_every_expert_is_held_no_rank_is_overfull_and_nothing_gets_worse(case: tuple[np.ndarray, int, int]) -> None:
    load, ranks, places = case
    experts = load.shape[2]
    former = Placement(ranks, {layer: contiguous(experts, ranks) for layer in range(load.shape[1])})
    for _ in range(2):  # the second time from a placement with replicas
        found = rebalanced(load, former, places)
        for layer, held in found.by_layer.items():
            assert {expert for ids in held for expert in ids} == set(range(experts))
            assert all(len(ids) <= places and list(ids) == sorted(set(ids)) for ids in held)
            mine = load[:, layer]
            assert rank_loads(mine, held).max() <= rank_loads(mine, former.by_layer[layer]).max()
        assert layers_imbalance(load, found) <= layers_imbalance(load, former) + 1e-9
        assert rebalanced(load, former, places) == found
        former = found


@settings(max_examples=40)
@given(loads())
def test_the_greedy_itself_holds_every_expert_within_its_places(case: tuple[np.ndarray, int, int]) -> None:
    load, ranks, places = case
    held = balanced(load[:, 0].sum(0), contiguous(load.shape[2], ranks), places)
    assert {expert for ids in held for expert in ids} == set(range(load.shape[2]))
    assert all(len(ids) <= places and len(set(ids)) == len(ids) for ids in held)


@settings(max_examples=40)
@given(loads())
def test_each_row_is_computed_by_one_rank_that_holds_its_expert(case: tuple[np.ndarray, int, int]) -> None:
    load, ranks, places = case
    experts = load.shape[2]
    held = balanced(load[:, 0].sum(0), contiguous(experts, ranks), places)
    holders, computing = holders_of(held, experts), computing_ranks(held, experts)
    for owner in range(ranks):
        asked = copies_asked(holders, owner, ranks)
        for expert in range(experts):
            number, of = divmod(asked[expert], experts)
            assert of == expert
            assert computing[owner, expert] == holders[expert][number]
            assert owner not in holders[expert] or computing[owner, expert] == owner
    for expert, holding in enumerate(holders):  # owners without a copy spread evenly over those who have one
        guests = [int(computing[owner, expert]) for owner in range(ranks) if owner not in holding]
        assume(guests)
        numbers = [guests.count(rank) for rank in holding]
        assert max(numbers) - min(numbers) <= 1


def test_a_hot_expert_gets_a_replica_and_the_others_make_room() -> None:
    load = np.array([[90.0, 10, 10, 10, 10, 10, 10, 10]] * 2).reshape(2, 1, 8)
    former = Placement(2, {4: contiguous(8, 2)})
    assert layers_imbalance(load, former) == pytest.approx(1.5)
    swapped = rebalanced(load, former, places=4)  # no replica fits: the hot one is left with the coldest
    assert layers_imbalance(load, swapped) == pytest.approx(1.5)
    spared = rebalanced(load, former, places=5)
    assert [0 in ids for ids in spared.by_layer[4]] == [True, True]
    assert layers_imbalance(load, spared) == pytest.approx(1.0, abs=0.07)
    assert spared.version == former.version + 1


def test_two_hot_neighbours_are_parted_without_a_replica_and_little_else_moves() -> None:
    load = np.array([50.0, 50, 5, 5, 5, 5, 5, 5]).reshape(1, 1, 8).repeat(2, 0)
    former = Placement(2, {0: contiguous(8, 2)})
    found = rebalanced(load, former, places=4)
    assert layers_imbalance(load, found) == pytest.approx(1.0)
    moved = [set(after) - set(before) for before, after in zip(former.by_layer[0], found.by_layer[0], strict=True)]
    assert [len(ids) for ids in moved] == [1, 1]


def test_replicas_are_not_given_to_ranks_that_would_compute_everything_themselves() -> None:
    load = np.zeros((2, 1, 8))
    load[0, 0, :3] = 60, 50, 40  # all rows are the first rank's
    former = Placement(2, {0: contiguous(8, 2)})
    found = rebalanced(load, former, places=5)
    assert layers_imbalance(load, former) == pytest.approx(2.0)
    assert layers_imbalance(load, found) == pytest.approx(1.2)


def test_without_any_load_everything_stays() -> None:
    former = Placement(2, {0: contiguous(8, 2)})
    assert rebalanced(np.zeros((2, 1, 8)), former, 5).by_layer == former.by_layer
    assert layers_imbalance(np.zeros((2, 1, 8)), former) == 1.0


def test_an_even_part_and_the_spare_ones_are_all_that_a_rank_holds() -> None:
    assert [slots_of(64, ranks, 0) for ranks in (1, 2, 3, 64)] == [64, 32, 22, 1]
    assert [slots_of(64, ranks, 2) for ranks in (1, 2, 3, 64)] == [64, 34, 24, 3]
    assert slots_of(8, 2, 64) == 8


def test_a_placement_travels_as_json() -> None:
    placement = Placement(2, {1: ((0, 1), (1, 2)), 3: ((2,), (0, 1))}, version=7)
    assert placement_from_json(placement_to_json(placement)) == placement
