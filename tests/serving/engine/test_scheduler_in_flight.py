"""With several steps in flight no sequence is in two of them, nobody starves, and all blocks come back."""

from __future__ import annotations

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from serving.engine.scheduler import Scheduler, Sequence, Turn

RANKS, BLOCKS, BLOCK_SIZE, STEP_TOKENS, MOST_RUNNING = 2, 12, 4, 9, 3

lengths = st.tuples(st.integers(1, 30), st.integers(1, 18))


@settings(deadline=None)
@given(st.lists(lengths, min_size=1, max_size=20), st.integers(2, 4), st.sets(st.integers(0, 19)))
def test_any_load_is_finished_whatever_is_given_up_meanwhile(
    load: list[tuple[int, int]], depth: int, given_up: set[int]
) -> None:
    scheduler = Scheduler(RANKS, BLOCKS, BLOCK_SIZE, STEP_TOKENS, MOST_RUNNING, depth=depth)
    sequences = [Sequence(str(number), prompt, prompt + new) for number, (prompt, new) in enumerate(load)]
    for sequence in sequences:
        scheduler.add(sequence)
    dropped = [sequence for number, sequence in enumerate(sequences) if number in given_up]
    in_flight: deque[list[list[Turn]]] = deque()
    for _ in range(sum(prompt + new for prompt, new in load) + depth):
        while len(in_flight) < depth and any(turns := scheduler.next_step()):
            busy = [turn.sequence for step in in_flight for rank in step for turn in rank]
            assert not [turn for rank in turns for turn in rank if turn.sequence in busy or turn.sequence.given_up]
            scheduler.depart(turns)
            in_flight.append(turns)
        blocks = [(s.rank, block) for s in sequences for block in s.blocks]
        assert len(blocks) == len(set(blocks))  # those given up hold theirs while a step may write to them
        if dropped and in_flight:
            scheduler.remove(dropped.pop())
        if not in_flight:
            break
        for turn in (turn for rank in in_flight.popleft() for turn in rank):
            scheduler.advance(turn)
            if turn.sequence.given_up or not turn.draws:
                continue
            if turn.sequence.length == turn.sequence.longest:
                scheduler.remove(turn.sequence)
                if turn.sequence in dropped:
                    dropped.remove(turn.sequence)
    assert scheduler.free_blocks == (BLOCKS,) * RANKS
    assert scheduler.waiting == scheduler.running == 0
