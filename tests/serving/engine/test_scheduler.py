"""The scheduler never shares a block, keeps its budgets, and lets nobody wait for ever."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.engine.scheduler import BlockAllocator, Scheduler, Sequence, Turn

RANKS, BLOCKS, BLOCK_SIZE, STEP_TOKENS, MOST_RUNNING = 2, 12, 4, 9, 3


def new_scheduler() -> Scheduler:
    return Scheduler(RANKS, BLOCKS, BLOCK_SIZE, STEP_TOKENS, MOST_RUNNING)


def run_step(scheduler: Scheduler, turns: list[list[Turn]]) -> None:
    """Every turn is computed; a sequence that reached its longest is removed."""
    for turn in (turn for rank in turns for turn in rank):
        scheduler.advance(turn)
        if turn.draws:
            if turn.sequence.length == turn.sequence.longest:
                scheduler.remove(turn.sequence)
            else:
                scheduler.grow(turn.sequence)


lengths = st.tuples(st.integers(1, 30), st.integers(1, 18))


@settings(deadline=None)
@given(st.lists(lengths, min_size=1, max_size=25))
def test_any_load_is_finished_within_budget_and_without_shared_blocks(load: list[tuple[int, int]]) -> None:
    scheduler = new_scheduler()
    sequences = [Sequence(str(n), prompt, prompt + new) for n, (prompt, new) in enumerate(load)]
    for sequence in sequences:
        scheduler.add(sequence)
    for _ in range(sum(prompt + new for prompt, new in load) + 1):
        turns = scheduler.next_step()
        if not any(turns):
            break
        for rank, mine in enumerate(turns):
            assert sum(turn.count for turn in mine) <= STEP_TOKENS
            assert all(turn.sequence.rank == rank for turn in mine)
            counts = [turn.count for turn in mine]
            assert counts == sorted(counts, key=lambda count: count > 1)  # single tokens first
            blocks = [block for turn in mine for block in turn.sequence.blocks]
            assert len(blocks) == len(set(blocks))
            for turn in mine:
                assert turn.start == turn.sequence.computed
                assert turn.start + turn.count <= len(turn.sequence.blocks) * BLOCK_SIZE
        run_step(scheduler, turns)
    assert all(sequence.computed == sequence.longest for sequence in sequences)
    assert scheduler.free_blocks == (BLOCKS,) * RANKS
    assert scheduler.waiting == scheduler.running == 0


def test_a_long_sequence_at_the_head_is_not_overtaken() -> None:
    scheduler = Scheduler(1, BLOCKS, BLOCK_SIZE, STEP_TOKENS, MOST_RUNNING)
    first, long, short = Sequence("first", 4, 8), Sequence("long", 40, 48), Sequence("short", 1, 2)
    for sequence in (first, long, short):
        scheduler.add(sequence)
    while first.computed < first.longest:
        turns = scheduler.next_step()
        assert [turn.sequence for turn in turns[0]] == [first]
        run_step(scheduler, turns)
    assert scheduler.next_step()[0][0].sequence is long


def test_new_sequences_go_to_the_rank_with_fewest() -> None:
    scheduler = new_scheduler()
    for number in range(4):
        scheduler.add(Sequence(str(number), 2, 4))
    turns = scheduler.next_step()
    assert [len(rank) for rank in turns] == [2, 2]


def test_those_that_generate_advance_while_a_long_prompt_is_computed_in_chunks() -> None:
    scheduler = Scheduler(1, BLOCKS, BLOCK_SIZE, STEP_TOKENS, MOST_RUNNING)
    talker = Sequence("talker", 1, 9)
    scheduler.add(talker)
    run_step(scheduler, scheduler.next_step())
    scheduler.add(Sequence("reader", 30, 32))
    turns = scheduler.next_step()[0]
    assert [(turn.sequence.id, turn.count) for turn in turns] == [("talker", 1), ("reader", STEP_TOKENS - 1)]
    assert turns[0].draws
    assert not turns[1].draws


def test_removing_a_running_or_waiting_sequence_frees_what_it_had() -> None:
    scheduler = Scheduler(1, BLOCKS, BLOCK_SIZE, STEP_TOKENS, MOST_RUNNING)
    running, waiting = Sequence("running", 4, 48), Sequence("waiting", 4, 48)
    scheduler.add(running)
    scheduler.add(waiting)
    scheduler.next_step()
    scheduler.remove(waiting)
    assert scheduler.waiting == 0
    scheduler.remove(running)
    assert scheduler.free_blocks == (BLOCKS,)


def test_what_no_rank_could_ever_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        new_scheduler().add(Sequence("huge", 40, BLOCKS * BLOCK_SIZE + 1))


def test_an_allocator_gives_no_block_twice() -> None:
    allocator = BlockAllocator(4)
    taken = allocator.take(3)
    with pytest.raises(ValueError, match="1 free"):
        allocator.take(2)
    allocator.give_back(taken)
    assert sorted(allocator.take(4)) == [0, 1, 2, 3]
