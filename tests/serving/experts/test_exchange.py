"""Rows reach their experts' ranks, contributions come back summed in order of rank, and nobody waits for ever."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from torch import Tensor

from serving.experts.exchange import Exchange, ExchangeTimeout
from serving.experts.exchange_way import ChooseWay, saved_bytes, ways_from
from serving.experts.gloo_exchange import GlooExchange
from serving.experts.shm_exchange import ShmExchange
from serving.experts.shm_layout import ShmLayout, create_shared_file

HIDDEN, TOP_K, ROWS, EXPERTS = 16, 2, 32, 12
HOLDERS = {ranks: torch.arange(EXPERTS) * ranks // EXPERTS for ranks in (2, 3)}  # runs of neighbours
T = TypeVar("T")
Opener = Callable[..., Exchange]
WAYS: dict[str, ChooseWay] = {
    "gathered": lambda *_: False,
    "dispatched": lambda *_: True,
    "in turn": lambda counts, *_: sum(counts) % 2 == 0,
}


@pytest.fixture(params=["shm", "gloo"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    path = tmp_path / "exchange"

    def open_shm(rank: int, ranks: int, seconds: float, way: str = "gathered") -> Exchange:
        return ShmExchange(path, ShmLayout(ranks, ROWS, HIDDEN, TOP_K), rank, seconds, choose=WAYS[way])

    def open_gloo(rank: int, ranks: int, seconds: float, way: str = "gathered") -> Exchange:
        return GlooExchange(path, rank, ranks, seconds, WAYS[way])

    return open_shm if request.param == "shm" else open_gloo


def on_every_rank(ranks: int, work: Callable[[int], T], path: Path | None = None) -> list[T]:
    with ThreadPoolExecutor(ranks) as pool:
        return list(pool.map(work, range(ranks)))


def prepare(tmp_path: Path, opener: Opener, ranks: int) -> None:
    if opener.__name__ == "open_shm":
        create_shared_file(tmp_path / "exchange", ShmLayout(ranks, ROWS, HIDDEN, TOP_K))


def part_of(rank: int, step: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1000 * step + rank)
    rows = torch.randn(count, HIDDEN, generator=generator)
    copies = torch.randint(0, EXPERTS, (count, TOP_K), generator=generator)
    return rows, copies, torch.rand(count, TOP_K, generator=generator)


def steps_of(ranks: int) -> list[tuple[int, ...]]:
    return [counts[:ranks] for counts in [(1, 0, 4), (0, 2, 0), (5, 5, 5), (1, 1, 1), (9, 3, 2)] * 15]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ranks", [2, 3])
def test_each_rank_gets_what_concerns_it_in_order_of_rank(opener: Opener, tmp_path: Path, ranks: int, way: str) -> None:
    prepare(tmp_path, opener, ranks)

    def work(rank: int) -> list[bool]:
        exchange, right = opener(rank, ranks, 20.0, way), []
        for step, counts in enumerate(steps_of(ranks)):
            parts = [part_of(other, step, count) for other, count in enumerate(counts)]
            found = exchange.dispatch(*parts[rank], counts, HOLDERS[ranks])
            wanted = [torch.cat(column) for column in zip(*parts, strict=True)]
            if WAYS[way](counts, TOP_K, HIDDEN):
                mine = (HOLDERS[ranks][wanted[1]] == rank).any(1)
                wanted = [column[mine] for column in wanted]
            right.append(all(torch.equal(got, want) for got, want in zip(found, wanted, strict=True)))
            exchange.combine(torch.zeros_like(found[0]), counts)
        exchange.close()
        return right

    assert all(all(right) for right in on_every_rank(ranks, work))


@pytest.mark.parametrize("ranks", [2, 3])
def test_both_ways_give_the_same_sums_to_the_bit(opener: Opener, tmp_path: Path, ranks: int) -> None:
    """What comes back is what every rank's experts made of a row, whichever way it went."""

    def share(rows: Tensor, copies: Tensor, weights: Tensor, rank: int) -> Tensor:
        mine = torch.where(HOLDERS[ranks][copies] == rank, weights, 0.0)
        return rows * mine.sum(1, keepdim=True) * (1.0 + rank)

    def work(rank: int, way: str) -> list[Tensor]:
        exchange, found = opener(rank, ranks, 20.0, way), []
        for step, counts in enumerate(steps_of(ranks)):
            received = exchange.dispatch(*part_of(rank, step, counts[rank]), counts, HOLDERS[ranks])
            found.append(exchange.combine(share(*received, rank), counts).clone())
        exchange.close()
        return found

    sums = {}
    for way in WAYS:
        (tmp_path / "exchange").unlink(missing_ok=True)
        prepare(tmp_path, opener, ranks)
        sums[way] = on_every_rank(ranks, lambda rank, way=way: work(rank, way))
    for rank in range(ranks):
        for step, counts in enumerate(steps_of(ranks)):
            own = part_of(rank, step, counts[rank])
            wanted = sum(share(*own, other) for other in range(ranks))
            assert all(torch.equal(sums[way][rank][step], wanted) for way in WAYS)


def test_sums_are_in_order_of_rank_on_every_rank(opener: Opener, tmp_path: Path) -> None:
    prepare(tmp_path, opener, 3)
    terms = (1e8, 1.0, -1e8)  # in any other order their float sum differs

    def work(rank: int) -> Tensor:
        return opener(rank, 3, 20.0).combine(torch.full((3, HIDDEN), terms[rank]), (1, 1, 1))

    in_order = (torch.tensor(terms[0]) + terms[1]) + terms[2]
    assert all(torch.equal(own, in_order.expand(1, HIDDEN)) for own in on_every_rank(3, work))


@pytest.mark.parametrize("way", ["gathered", "dispatched"])
def test_an_exchange_that_nobody_joins_times_out(opener: Opener, tmp_path: Path, way: str) -> None:
    prepare(tmp_path, opener, 2)
    opened = on_every_rank(2, lambda rank: opener(rank, 2, 0.5, way))
    with pytest.raises(ExchangeTimeout):
        opened[0].dispatch(*part_of(0, 0, 1), (1, 1), HOLDERS[2])


def test_the_way_depends_on_what_all_ranks_know_alike_and_on_size() -> None:
    choose = ways_from(least_saved=128 * 1024)
    assert not choose((1, 1), 2, 256)
    assert not choose((0, 0), 2, 256)
    assert choose((256, 256), 2, 256)
    assert choose((512, 0), 2, 256)  # the rank without rows chooses like the one with all
    assert not choose((256, 256), 64, 256)  # with so many experts a row concerns every rank
    saved = [saved_bytes((64 // ranks,) * ranks, 2, 256) for ranks in (2, 4, 8)]
    assert saved == sorted(saved)  # of more ranks fewer are concerned


def test_a_shared_memory_time_out_names_who_is_missing(tmp_path: Path) -> None:
    layout = ShmLayout(3, ROWS, HIDDEN, TOP_K)
    create_shared_file(tmp_path / "exchange", layout)

    def work(rank: int) -> tuple[int, ...]:
        exchange = ShmExchange(tmp_path / "exchange", layout, rank, 1.0)
        with pytest.raises(ExchangeTimeout) as caught:
            exchange.combine(torch.zeros(3, HIDDEN), (1, 1, 1))
        return caught.value.missing

    assert on_every_rank(2, work) == [(2,), (2,)]


def test_the_shared_file_belongs_to_this_user_only_and_is_never_taken_over(tmp_path: Path) -> None:
    layout = ShmLayout(2, ROWS, HIDDEN, TOP_K)
    create_shared_file(tmp_path / "exchange", layout)
    assert (tmp_path / "exchange").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        create_shared_file(tmp_path / "exchange", layout)
