"""A layer's mixture is the same on one rank and on several, whichever way rows travel and wherever its experts are."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from serving.experts.exchange import AloneExchange, Exchange
from serving.experts.gloo_exchange import GlooExchange
from serving.experts.placement import Held
from serving.experts.shm_exchange import ShmExchange
from serving.experts.shm_layout import ShmLayout, create_shared_file
from serving.model.mixture import Mixture, Routing
from serving.model.weights import ExpertWeights, MixtureWeights

HIDDEN, SIZE, EXPERTS, TOP_K = 32, 16, 8, 2
STEPS = [(1, 1, 1), (40, 3, 0), (0, 0, 5), (7, 9, 30)]
PLACEMENTS: list[Held] = [
    ((0, 1, 2), (3, 4, 5), (6, 7)),
    ((0, 1, 6), (0, 2, 3, 7), (0, 4, 5, 6)),  # one expert everywhere, one on two ranks
    ((2, 3, 4), (0, 5, 6), (1, 2, 7)),
]


def experts_of(ids: tuple[int, ...], places: int = 0) -> ExpertWeights:
    draw = torch.Generator().manual_seed(0)
    gate_up = torch.randn(EXPERTS, 2 * SIZE, HIDDEN, generator=draw) / HIDDEN**0.5
    down = torch.randn(EXPERTS, HIDDEN, SIZE, generator=draw) / SIZE**0.5
    free = [0] * (places - len(ids))  # whatever lies there
    return ExpertWeights(ids, gate_up[[*ids, *free]], down[[*ids, *free]])


def mixture_of(ids: tuple[int, ...], exchange: Exchange) -> Mixture:
    weights = MixtureWeights(torch.empty(0), None, None, experts_of(ids, places=4 if len(ids) < EXPERTS else 0))
    return Mixture(SimpleNamespace(experts=EXPERTS), weights, exchange)  # type: ignore[arg-type]


def rows_of(step: int, rank: int, count: int) -> tuple[Tensor, Routing]:
    draw = torch.Generator().manual_seed(100 * step + rank)
    ids = torch.rand(count, EXPERTS, generator=draw).topk(TOP_K).indices
    routing = Routing(torch.empty(0), ids, torch.rand(count, TOP_K, generator=draw))
    return torch.randn(count, HIDDEN, generator=draw), routing


def lacking(rank: int, turn: int) -> ExpertWeights | None:
    if not turn:
        return None
    ids = tuple(expert for expert in PLACEMENTS[turn][rank] if expert not in PLACEMENTS[turn - 1][rank])
    return experts_of(ids) if ids else None


@pytest.mark.parametrize("dispatched", [False, True], ids=["gathered", "dispatched"])
@pytest.mark.parametrize("backend", ["shm", "gloo"])
def test_one_rank_or_three_one_way_or_the_other(backend: str, dispatched: bool, tmp_path: Path) -> None:
    path, ranks, layout = tmp_path / "exchange", 3, ShmLayout(3, 64, HIDDEN, TOP_K)
    if backend == "shm":
        create_shared_file(path, layout)

    def opened(rank: int) -> Exchange:
        if backend == "gloo":
            return GlooExchange(path, rank, ranks, 20.0, lambda *_: dispatched)
        return ShmExchange(path, layout, rank, 20.0, choose=lambda *_: dispatched)

    def work(rank: int) -> list[Tensor]:
        exchange = opened(rank)
        mixture, found = mixture_of(PLACEMENTS[0][rank], exchange), []
        for turn, held in enumerate(PLACEMENTS):
            mixture.place(held, rank, lacking(rank, turn))
            for step, counts in enumerate(STEPS):
                found.append(mixture(*rows_of(step, rank, counts[rank]), counts).clone())
        exchange.close()
        return found

    with ThreadPoolExecutor(ranks) as pool:
        found = list(pool.map(work, range(ranks)))
    alone = mixture_of(tuple(range(EXPERTS)), AloneExchange())
    for rank in range(ranks):
        wanted = [alone(*rows_of(step, rank, counts[rank]), (counts[rank],)) for step, counts in enumerate(STEPS)]
        for got, want in zip(found[rank], wanted * len(PLACEMENTS), strict=True):
            torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)
