"""Rows reach every rank, contributions come back summed in order of rank, and nobody waits for ever."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from torch import Tensor

from serving.experts.exchange import Exchange, ExchangeTimeout
from serving.experts.gloo_exchange import GlooExchange
from serving.experts.shm_exchange import ShmExchange
from serving.experts.shm_layout import ShmLayout, create_shared_file

HIDDEN, TOP_K, ROWS = 16, 2, 32
T = TypeVar("T")
Opener = Callable[[int, int, float], Exchange]


@pytest.fixture(params=["shm", "gloo"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    path = tmp_path / "exchange"

    def open_shm(rank: int, ranks: int, seconds: float) -> Exchange:
        return ShmExchange(path, ShmLayout(ranks, ROWS, HIDDEN, TOP_K), rank, seconds)

    def open_gloo(rank: int, ranks: int, seconds: float) -> Exchange:
        return GlooExchange(path, rank, ranks, seconds)

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
    experts = torch.randint(0, 64, (count, TOP_K), generator=generator)
    return rows, experts, torch.rand(count, TOP_K, generator=generator)


@pytest.mark.parametrize("ranks", [2, 3])
def test_gather_and_combine_over_many_steps_of_uneven_counts(opener: Opener, tmp_path: Path, ranks: int) -> None:
    prepare(tmp_path, opener, ranks)
    steps = [(1, 0, 4), (0, 2, 0), (5, 5, 5), (1, 1, 1)] * 20
    plans = [counts[:ranks] for counts in steps]

    def work(rank: int) -> list[bool]:
        exchange, right = opener(rank, ranks, 20.0), []
        for step, counts in enumerate(plans):
            parts = [part_of(other, step, count) for other, count in enumerate(counts)]
            gathered = exchange.gather(*parts[rank], counts)
            wanted = [torch.cat(column) for column in zip(*parts, strict=True)]
            right.append(all(torch.equal(got, want) for got, want in zip(gathered, wanted, strict=True)))
            contributions = [torch.full((sum(counts), HIDDEN), 10.0**other) * (step + 1) for other in range(ranks)]
            own = exchange.combine(contributions[rank], counts)
            right.append(torch.equal(own, sum(contributions)[: counts[rank]]))
        exchange.close()
        return right

    assert all(all(right) for right in on_every_rank(ranks, work))


def test_sums_are_in_order_of_rank_on_every_rank(opener: Opener, tmp_path: Path) -> None:
    prepare(tmp_path, opener, 3)
    terms = (1e8, 1.0, -1e8)  # in any other order their float sum differs

    def work(rank: int) -> Tensor:
        return opener(rank, 3, 20.0).combine(torch.full((3, HIDDEN), terms[rank]), (1, 1, 1))

    in_order = (torch.tensor(terms[0]) + terms[1]) + terms[2]
    assert all(torch.equal(own, in_order.expand(1, HIDDEN)) for own in on_every_rank(3, work))


def test_an_exchange_that_nobody_joins_times_out(opener: Opener, tmp_path: Path) -> None:
    prepare(tmp_path, opener, 2)
    opened = on_every_rank(2, lambda rank: opener(rank, 2, 0.5))
    with pytest.raises(ExchangeTimeout):
        opened[0].gather(*part_of(0, 0, 1), (1, 1))


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
