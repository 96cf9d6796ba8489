"""The scheduler shares only what is equal, keeps its budgets, and lets nobody wait for ever."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.engine.block_pool import BlockPool, FullBlock
from serving.engine.plan import NO_TARGET
from serving.engine.prefix import BlockKeys
from serving.engine.scheduler import CLEARLY_MORE, Scheduler, Sequence, Turn, extent

RANKS, BLOCKS, BLOCK_SIZE, STEP_TOKENS, MOST_RUNNING = 2, 12, 4, 9, 3


def new_scheduler() -> Scheduler:
    return Scheduler(RANKS, BLOCKS, BLOCK_SIZE, STEP_TOKENS, MOST_RUNNING)


def run_step(scheduler: Scheduler, turns: list[list[Turn]]) -> None:
    """Every turn is computed; a sequence that reached its longest is removed."""
    scheduler.depart(turns)
    for turn in (turn for rank in turns for turn in rank):
        scheduler.advance(turn)
        if turn.sequence.length == turn.sequence.longest:
            scheduler.remove(turn.sequence)


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
    assert all(sequence.computed == sequence.longest - 1 for sequence in sequences)
    assert scheduler.free_blocks == (BLOCKS,) * RANKS
    assert scheduler.waiting == scheduler.running == 0


def test_a_long_sequence_at_the_head_is_not_overtaken() -> None:
    scheduler = Scheduler(1, BLOCKS, BLOCK_SIZE, STEP_TOKENS, MOST_RUNNING)
    first, long, short = Sequence("first", 4, 8), Sequence("long", 40, 48), Sequence("short", 1, 2)
    for sequence in (first, long, short):
        scheduler.add(sequence)
    while first.length < first.longest:
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


@dataclass
class Chosen:
    """Limits that a test sets."""

    running: int
    prompts: int

    def chunk(self, rows: int) -> int:
        return self.prompts

    def observe(self, rows: int, tokens: int, seconds: float) -> None:
        raise NotImplementedError


def test_limits_are_followed_from_step_to_step_and_take_back_nothing_that_runs() -> None:
    limits = Chosen(running=2, prompts=3)
    scheduler = Scheduler(1, 40, BLOCK_SIZE, 20, 12, limits)
    for number in range(4):
        scheduler.add(Sequence(str(number), 5, 20))
    turns = scheduler.next_step()
    assert [(turn.sequence.id, turn.count) for turn in turns[0]] == [("0", 3)]
    run_step(scheduler, turns)
    limits.running, limits.prompts = 3, 100
    turns = scheduler.next_step()
    assert [(turn.sequence.id, turn.count) for turn in turns[0]] == [("0", 2), ("1", 5), ("2", 5)]
    run_step(scheduler, turns)
    limits.running = 1
    assert [turn.sequence.id for turn in scheduler.next_step()[0]] == ["0", "1", "2"]
    assert scheduler.waiting == 1


def test_the_extent_of_a_step_is_that_of_its_fullest_ranks() -> None:
    one = Sequence("one", 9, 12)
    single = Turn(one, 8, 1, True)
    turns = [[single, single], [single, Turn(one, 0, 6, False), Turn(one, 0, 3, False)]]
    assert extent(turns) == (2, 9)


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


def test_a_pool_gives_no_block_twice() -> None:
    pool = BlockPool(4)
    taken = pool.take(3)
    with pytest.raises(ValueError, match="1 free"):
        pool.take(2)
    pool.give_back(taken)
    assert sorted(pool.take(4)) == [0, 1, 2, 3]


class Memory:
    """What each rank's cache holds, as a step would write it: the tokens of every block."""

    def __init__(self) -> None:
        self.slots = [[[-1] * BLOCK_SIZE for _ in range(BLOCKS)] for _ in range(RANKS)]

    def write(self, rank: int, sequence: Sequence, start: int, tokens: list[int]) -> None:
        for place, token in enumerate(tokens, start):
            self.slots[rank][sequence.blocks[place // BLOCK_SIZE]][place % BLOCK_SIZE] = token

    def read(self, rank: int, sequence: Sequence) -> list[int]:
        found = [token for block in sequence.blocks for token in self.slots[rank][block]]
        return found[: sequence.computed]


prompts = st.lists(st.integers(0, 1), min_size=1, max_size=30)  # two tokens: many begin alike
asks = st.tuples(prompts, st.integers(1, 18), st.integers(0, 12))  # steps after which it is given up; 0: never


@settings(deadline=None, max_examples=200)
@given(st.lists(asks, min_size=1, max_size=25), st.integers(1, 8))
def test_a_shared_block_always_holds_the_tokens_of_all_who_share_it(
    load: list[tuple[list[int], int, int]], in_flight: int
) -> None:
    scheduler, memory = new_scheduler(), Memory()
    texts: dict[str, list[int]] = {}
    keys: dict[str, BlockKeys] = {}
    left: dict[str, int] = {}
    live: dict[str, Sequence] = {}
    for number, (prompt, new, patience) in enumerate(load):
        name = str(number)
        texts[name], keys[name], left[name] = [*prompt], BlockKeys("", BLOCK_SIZE), patience
        keys[name].extend(prompt, [True] * len(prompt))
        prefix = keys[name].links(prompt, [NO_TARGET] * len(prompt))
        live[name] = Sequence(name, len(prompt), len(prompt) + new, prefix)
        scheduler.add(live[name])
    steps: deque[list[list[Turn]]] = deque()
    while live:
        while len(steps) < in_flight and any(turns := scheduler.next_step()):
            scheduler.depart(turns)
            steps.append(turns)
        for rank, mine in enumerate(steps.popleft()):
            for turn in mine:
                sequence, text = turn.sequence, texts[turn.sequence.id]
                if sequence.given_up:  # steps ahead write to its blocks still, whatever it drew
                    memory.write(rank, sequence, turn.start, [7] * turn.count)
                    scheduler.advance(turn)
                    continue
                assert memory.read(rank, sequence) == text[: turn.start]
                memory.write(rank, sequence, turn.start, text[turn.start : turn.start + turn.count])
                published = turn.start // BLOCK_SIZE
                scheduler.advance(turn)
                if turn.draws:
                    text.append(len(text) % 2)
                keys[sequence.id].extend(text, [True] * len(text))
                whole = keys[sequence.id].keys[published : sequence.computed // BLOCK_SIZE]
                scheduler.publish(sequence, published, [FullBlock(key, (0.0,) * BLOCK_SIZE) for key in whole])
                left[sequence.id] -= 1
                if left[sequence.id] == 0 or len(text) == sequence.longest:
                    scheduler.remove(live.pop(sequence.id))
    for turn in (turn for step in steps for rank in step for turn in rank):
        scheduler.advance(turn)
    assert scheduler.free_blocks == (BLOCKS,) * RANKS


def computed(scheduler: Scheduler, name: str, prompt: list[int], new: int = 2) -> Sequence:
    """A sequence that has run to its end and left its prompt's blocks behind."""
    sequence = beginning(name, prompt, new)
    scheduler.add(sequence)
    while sequence.computed < len(prompt):
        run_step(scheduler, scheduler.next_step())
    blocks = [FullBlock(link.key, (0.0,) * BLOCK_SIZE) for link in sequence.prefix]
    scheduler.publish(sequence, 0, blocks)
    scheduler.remove(sequence)
    return sequence


def beginning(name: str, prompt: list[int], new: int = 2) -> Sequence:
    keys = BlockKeys("", BLOCK_SIZE)
    keys.extend(prompt, [True] * len(prompt))
    return Sequence(name, len(prompt), len(prompt) + new, keys.links(prompt, [NO_TARGET] * len(prompt)))


def test_a_prompt_goes_to_the_rank_that_holds_its_beginning_and_computes_only_the_rest() -> None:
    scheduler = new_scheduler()
    prompt = [1] * 9
    holder = computed(scheduler, "first", prompt).rank
    scheduler.add(Sequence("other", 1, 8))
    scheduler.next_step()
    again = beginning("again", prompt)
    other = beginning("other prompt", [2] * 9)
    scheduler.add(again)
    scheduler.add(other)
    turns = scheduler.next_step()
    assert again.rank == holder
    assert [turn.start for turn in turns[holder] if turn.sequence is again] == [8]
    assert other.computed == 0


def test_a_rank_with_clearly_more_to_do_is_not_chosen_for_what_it_holds() -> None:
    scheduler = Scheduler(2, 40, BLOCK_SIZE, 20, 12)
    prompt = [1] * 9
    holder = computed(scheduler, "first", prompt).rank
    followers = [beginning(str(number), prompt, 20) for number in range(2 * CLEARLY_MORE + 1)]
    for follower in followers:
        scheduler.add(follower)
        scheduler.next_step()
    assert [follower.rank for follower in followers[: CLEARLY_MORE + 1]] == [holder] * (CLEARLY_MORE + 1)
    assert followers[CLEARLY_MORE + 1].rank != holder


def test_sharing_makes_room_for_more_sequences_than_their_tokens_would() -> None:
    scheduler = Scheduler(1, 4, BLOCK_SIZE, STEP_TOKENS, MOST_RUNNING)
    prompt = [1] * 10
    computed(scheduler, "first", prompt)
    first, second = beginning("one", prompt), beginning("two", prompt)  # three blocks each, two of them shared
    scheduler.add(first)
    scheduler.add(second)
    scheduler.next_step()
    assert first.blocks[:2] == second.blocks[:2]
    assert scheduler.running == 2
    assert scheduler.free_blocks == (0,)
