"""Decides from measured load which ranks should hold which experts: replicas for the hottest, packed greedily."""

from __future__ import annotations

import heapq
from functools import lru_cache
from itertools import combinations

import numpy as np
import numpy.typing as npt

from serving.experts.placement import Held, Placement, copies_asked, holders_of

Load = npt.NDArray[np.float64]  # [owners, experts]: rows of each rank that chose each expert
_NEAR = 0.02  # of a rank's even load: ranks this close to the least loaded are as good


@lru_cache(maxsize=1024)
def computing_ranks(held: Held, experts: int) -> npt.NDArray[np.int64]:
    """[owners, experts]: which rank computes an owner's rows of an expert."""
    holders = holders_of(held, experts)
    computing = np.empty((len(held), experts), np.int64)
    for owner in range(len(held)):
        copies = copies_asked(holders, owner, len(held))
        computing[owner] = [holders[copy % experts][copy // experts] for copy in copies]
    return computing


def rank_loads(load: Load, held: Held) -> Load:
    """[ranks]: rows that each computes of one layer."""
    computing = computing_ranks(held, load.shape[1])
    return np.bincount(computing.ravel(), weights=load.ravel(), minlength=len(held)).astype(np.float64)


def layers_imbalance(load: npt.NDArray[np.float64], placement: Placement) -> float:
    """`load` [owners, expert layers, experts] → largest over mean of the ranks' rows, layers weighed by their rows.

    Ranks wait for each other in every layer: a step takes as long as the sum of the largest. 1 is even, or no load.
    """
    layers = sorted(placement.by_layer)
    loads = [rank_loads(load[:, row], placement.by_layer[layer]) for row, layer in enumerate(layers)]
    mean = sum(float(each.mean()) for each in loads)
    return sum(float(each.max()) for each in loads) / mean if mean else 1.0


def rebalanced(load: npt.NDArray[np.float64], former: Placement, places: int) -> Placement:
    """`load` [owners, expert layers, experts]; a rank holds at most `places` experts of a layer.

    A layer stays as it is where the greedy finds nothing better. Another version than `former`'s.
    """
    by_layer = {
        layer: rebalanced_layer(load[:, row], former.by_layer[layer], places)
        for row, layer in enumerate(sorted(former.by_layer))
    }
    return Placement(former.ranks, by_layer, former.version + 1)


def rebalanced_layer(load: Load, former: Held, places: int) -> Held:
    """One layer, `load` [owners, experts]; `former` itself where nothing better is found."""
    rows, even = load.sum(0), max(map(len, former))
    # A rank asks its own copy first: where one rank has most of the rows itself, replicas with it relieve nobody.
    found = [former, balanced(rows, former, min(places, even), replicas=False), balanced(rows, former, places)]
    return min(found, key=lambda held: float(rank_loads(load, held).max()))


def balanced(load: Load, former: Held, places: int, *, replicas: bool = True) -> Held:
    """One layer, `load` [experts]. EPLB's greedy (github.com/deepseek-ai/EPLB): replicas to the largest load a replica,
    then the largest replica to the least loaded rank with a free place. Of ranks that are as good a former holder is
    taken, so that less moves. Every expert is held; a replica is left out where all that have room hold its expert.
    """
    ranks = len(former)
    numbers = _replicas(load, ranks, places) if replicas else np.ones(len(load), np.int64)
    each = load / numbers
    held: list[set[int]] = [set() for _ in range(ranks)]
    loads, near = [0.0] * ranks, _NEAR * float(load.sum()) / ranks
    for expert in sorted(range(len(load)), key=lambda expert: (-each[expert], expert)):
        for _ in range(numbers[expert]):
            open_ranks = [rank for rank in range(ranks) if len(held[rank]) < places and expert not in held[rank]]
            if not open_ranks:
                break
            least = min(loads[rank] for rank in open_ranks)
            good = [rank for rank in open_ranks if loads[rank] <= least + near]
            rank = min(good, key=lambda rank: (expert not in former[rank], loads[rank], rank))
            held[rank].add(expert)
            loads[rank] += float(each[expert])
    _swap_back(held, loads, each, former, near)
    return tuple(tuple(sorted(ids)) for ids in held)


def _swap_back(held: list[set[int]], loads: list[float], each: Load, former: Held, near: float) -> None:
    """Experts that came to each other's ranks return where that makes no rank busier: they moved for nothing."""
    most = max(loads) + near
    for one, other in combinations(range(len(held)), 2):
        there = sorted((set(former[other]) & held[one]) - held[other], key=lambda expert: (-each[expert], expert))
        here = sorted((set(former[one]) & held[other]) - held[one], key=lambda expert: (-each[expert], expert))
        for leaving, coming in zip(there, here, strict=False):
            more = float(each[coming] - each[leaving])
            if loads[one] + more <= most and loads[other] - more <= most:
                loads[one], loads[other] = loads[one] + more, loads[other] - more
                held[one] = held[one] - {leaving} | {coming}
                held[other] = held[other] - {coming} | {leaving}


def _replicas(load: Load, ranks: int, places: int) -> npt.NDArray[np.int64]:
    """[experts]: how often each is to be held, at most once a rank."""
    numbers = np.ones(len(load), np.int64)
    hottest = [(-float(rows), expert) for expert, rows in enumerate(load)]
    heapq.heapify(hottest)
    left = ranks * places - len(load)
    while left > 0 and hottest and hottest[0][0] < 0:  # nobody needs a replica of what nobody asks for
        _, expert = heapq.heappop(hottest)
        if numbers[expert] < ranks:
            numbers[expert] += 1
            left -= 1
            heapq.heappush(hottest, (-float(load[expert]) / int(numbers[expert]), expert))
    return numbers
