"""Attention over a cache in blocks gives the plain sums, and reads nothing but a sequence's own blocks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from serving.kernels.attention import UNBOUNDED, attend_once, attends

pytestmark = pytest.mark.usefixtures("kernels")
BLOCK, BLOCKS = 4, 200
SCALE = 0.3


class Case:
    """Sequences with blocks in no order, each block one sequence's alone."""

    def __init__(self, lengths: list[int], heads: int, key_heads: int, dims: int) -> None:
        draw = torch.Generator().manual_seed(sum(lengths) + heads * dims)
        self.queries = 3 * torch.randn(len(lengths), heads, dims, generator=draw)
        self.rows = torch.randn(BLOCKS * BLOCK, 2 * key_heads * dims, generator=draw)
        width = max(-(-length // BLOCK) for length in lengths)
        order = torch.randperm(BLOCKS, generator=draw)[: len(lengths) * width]
        self.tables, self.positions = order.view(len(lengths), width), torch.tensor(lengths) - 1
        self.key_heads = key_heads

    def found(self, window: int, **changes: Any) -> Tensor:
        given = {"queries": self.queries, "rows": self.rows, "tables": self.tables, "positions": self.positions}
        given |= {"block_size": BLOCK, "key_heads": self.key_heads, "window": window, "scale": SCALE}
        return attend_once(**(given | changes))

    def expected(self, window: int) -> Tensor:
        parts = []
        for query, table, position in zip(self.queries.double(), self.tables, self.positions.tolist(), strict=True):
            places = (table.unsqueeze(1) * BLOCK + torch.arange(BLOCK)).flatten()[: position + 1]
            kept = self.rows.double()[places[max(0, position + 1 - window) :]]
            keys, values = kept.view(len(kept), 2, self.key_heads, -1).unbind(1)
            asked = query.view(self.key_heads, -1, query.shape[1])
            shares = torch.softmax(torch.einsum("hgd,thd->hgt", asked, keys) * SCALE, 2)
            parts.append(torch.einsum("hgt,thd->hgd", shares, values).flatten())
        return torch.stack(parts)


LENGTHS = [[1], [5, 1, 17], [64, 63, 65, 128], [130, 3, 64, 31, 1]]
HEADS = [(8, 2, 32), (3, 3, 16), (6, 1, 64), (10, 2, 128)]


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("heads", HEADS, ids=str)
@pytest.mark.parametrize("window", [1, 6, UNBOUNDED])
def test_it_is_the_plain_sum(lengths: list[int], heads: tuple[int, int, int], window: int) -> None:
    case = Case(lengths, *heads)
    torch.testing.assert_close(case.found(window).double(), case.expected(window), atol=1e-5, rtol=1e-5)


def test_scores_far_apart_are_neither_lost_nor_infinite() -> None:
    case = Case([130, 9], 8, 2, 32)
    case.queries *= 200
    torch.testing.assert_close(case.found(UNBOUNDED).double(), case.expected(UNBOUNDED), atol=2e-4, rtol=1e-3)


def test_a_sequence_is_attended_alike_alone_and_among_others() -> None:
    case = Case([130, 3, 64], 8, 2, 32)
    alone = [
        case.found(
            40, queries=case.queries[n : n + 1], tables=case.tables[n : n + 1], positions=case.positions[n : n + 1]
        )
        for n in range(3)
    ]
    assert torch.equal(case.found(40), torch.cat(alone))


def test_what_other_blocks_hold_is_not_seen() -> None:
    case = Case([18, 7], 8, 2, 32)
    before = case.found(UNBOUNDED)
    own = case.tables[0, :5].tolist() + case.tables[1, :2].tolist()
    for block in set(range(BLOCKS)) - set(own):
        case.rows[block * BLOCK : (block + 1) * BLOCK] = float("nan")
    case.rows[case.tables[0, 4] * BLOCK + 2 :][:2] = float("nan")  # behind the position, in the last block
    assert torch.equal(case.found(UNBOUNDED), before)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tables": torch.full((2, 5), BLOCKS)}, "outside of the cache"),
        ({"tables": torch.full((2, 5), -1)}, "outside of the cache"),
        ({"positions": torch.tensor([3, 20])}, "outside of its table"),
        ({"positions": torch.tensor([3, -1])}, "outside of its table"),
        ({"key_heads": 3}, "do not fit together"),
        ({"rows": torch.zeros(BLOCKS * BLOCK, 128).double()}, "another type or shape"),
    ],
)
def test_nothing_outside_of_the_cache_is_read(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(RuntimeError, match=reason):
        Case([18, 7], 8, 2, 32).found(UNBOUNDED, **changes)


def test_it_is_for_what_is_traced_alone() -> None:
    assert not attends(32)
