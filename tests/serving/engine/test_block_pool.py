"""A pool shares what is whole, forgets what was used the longest ago, and never hands out what is in use."""

from __future__ import annotations

import math

import pytest

from serving.engine.block_pool import BlockPool, FullBlock, Match
from serving.engine.plan import NO_TARGET
from serving.engine.prefix import Link

A, B, C = b"a", b"b", b"c"


def full(key: bytes, successor: tuple[int, float] | None = None) -> FullBlock:
    return FullBlock(key, (-1.0 * key[0], -0.5), successor)


def published(pool: BlockPool, *keys: bytes) -> list[int]:
    """The blocks of a sequence that computed these and still holds them."""
    blocks = pool.take(len(keys))
    for block, key in zip(blocks, keys, strict=True):
        pool.publish(block, full(key))
    return blocks


def links(*keys: bytes) -> list[Link]:
    return [Link(key, NO_TARGET) for key in keys]


def test_a_prefix_is_found_as_far_as_it_reaches_with_what_was_measured() -> None:
    pool = BlockPool(4)
    blocks = published(pool, A, B)
    found = pool.match(links(A, B, C))
    assert found.blocks == tuple(blocks)
    assert found.logprobs[:-1] == (-97.0, -0.5, -98.0, -0.5)
    assert math.isnan(found.logprobs[-1])
    assert pool.match(links(B)).blocks == (blocks[1],)  # a key already stands for all before it
    assert pool.match(links(C, B)) == Match()


def test_a_successor_that_was_measured_is_known() -> None:
    pool = BlockPool(4)
    (block,) = pool.take(1)
    pool.publish(block, full(A, (7, -2.0)))
    assert pool.match([Link(A, 7)]) == Match((block,), (-97.0, -0.5, -2.0))


def test_where_a_successor_is_not_known_the_block_before_it_is_computed_again() -> None:
    pool = BlockPool(4)
    first, second = published(pool, A, B)
    assert pool.match([Link(A, 5), Link(B, 7)]) == Match((first,), (-97.0, -0.5, -98.0))
    assert pool.match([Link(A, 7)]) == Match()
    pool.publish(pool.take(1)[0], full(B, (7, -2.0)))  # by the one that computed it again
    assert pool.match([Link(A, 5), Link(B, 7)]).blocks == (first, second)


def test_only_so_many_successors_of_a_block_are_remembered_the_newest_last() -> None:
    pool = BlockPool(1)
    (block,) = pool.take(1)
    for token in range(40):
        pool.publish(block, full(A, (token, -1.0)))
    assert pool.match([Link(A, 39)]).blocks == (block,)
    assert pool.match([Link(A, 0)]) == Match()


def test_what_nobody_uses_is_kept_until_its_space_is_needed_the_longest_unused_first() -> None:
    pool = BlockPool(4)
    for key in (A, B, C):
        pool.give_back(published(pool, key))
    assert (pool.free, pool.kept) == (4, 3)
    again = pool.share(pool.match(links(A)))  # A is the most recently used now
    pool.give_back(again)
    pool.take(2)
    assert [bool(pool.match(links(key)).blocks) for key in (A, B, C)] == [True, False, True]
    pool.take(1)
    assert [bool(pool.match(links(key)).blocks) for key in (A, B, C)] == [True, False, False]


def test_the_end_of_a_sequence_is_forgotten_before_its_beginning() -> None:
    pool = BlockPool(3)
    pool.give_back(published(pool, A, B, C))
    pool.take(1)
    assert len(pool.match(links(A, B, C)).blocks) == 2


def test_a_shared_block_is_free_only_when_its_last_user_is_gone() -> None:
    pool = BlockPool(2)
    first = published(pool, A)
    second = pool.share(pool.match(links(A)))
    pool.give_back(first)
    assert pool.free == 1
    with pytest.raises(ValueError, match="1 free"):
        pool.take(2)
    pool.give_back(second)
    assert pool.free == 2


def test_blocks_to_be_shared_do_not_count_as_room_for_new_ones() -> None:
    pool = BlockPool(3)
    pool.give_back(published(pool, A, B))
    match = pool.match(links(A, B))
    assert pool.can_hold(3, match)
    assert not pool.can_hold(4, match)


def test_a_second_copy_of_shared_content_stays_its_sequences_own() -> None:
    pool = BlockPool(3)
    first, second = published(pool, A), published(pool, A)
    assert pool.match(links(A)).blocks == tuple(first)
    pool.give_back(second)
    assert (pool.free, pool.kept) == (2, 0)
