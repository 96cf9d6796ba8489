"""Decides which sequences run next, on which rank and in which cache blocks; knows no tensors and no texts.

A sequence reserves all the blocks it may ever need when it is admitted, so nothing that runs is ever put back. Those
that hold the beginning of its prompt already are shared instead.

Where ranks are a grid, a rank here is one of each stage: together they hold a sequence, each its own layers of it.
Several steps are then in flight, each of other sequences.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence as Series
from dataclasses import dataclass, field

from serving.engine.batch_limit import FixedLimits, Limits
from serving.engine.block_pool import BlockPool, FullBlock, Match
from serving.engine.prefix import Link

WAITING = -1  # the rank of a sequence that no rank holds yet
CLEARLY_MORE = 2  # sequences; a rank that has more than so many more is not chosen for what its cache holds


@dataclass(slots=True, eq=False)
class Sequence:
    """One generation's progress in numbers of tokens."""

    id: str
    prompt: int
    longest: int  # prompt and all it may generate
    prefix: tuple[Link, ...] = ()  # full blocks of the prompt that may be found in a cache
    length: int = 0  # tokens known so far
    computed: int = 0  # of these, in the cache
    rank: int = WAITING
    blocks: list[int] = field(default_factory=list)
    inherited: tuple[float, ...] = ()  # log-probabilities of its first tokens, known from those who computed them
    in_flight: bool = False  # in a step whose answer has not come
    given_up: bool = False  # when that comes, its blocks are free

    def __post_init__(self) -> None:
        self.length = self.length or self.prompt


@dataclass(frozen=True, slots=True)
class Turn:
    """Compute `count` tokens of a sequence from `start` on; `draws` when the next token follows from them."""

    sequence: Sequence
    start: int
    count: int

    @property
    def draws(self) -> bool:
        return self.start + self.count == self.sequence.length


class Scheduler:
    def __init__(
        self,
        ranks: int,
        blocks: int,
        block_size: int,
        step_tokens: int,
        most_running: int,
        limits: Limits | None = None,
        depth: int = 1,
    ) -> None:
        """`blocks`, `step_tokens` and `most_running` (sequences) are each rank's; `limits` may allow less of both.

        `depth` steps may be in flight, and `limits` speak of the sequences in one of them.
        """
        if most_running >= step_tokens:
            raise ValueError(f"step_tokens ({step_tokens}) must exceed the sequences of a rank ({most_running})")
        self._blocks, self._block_size = blocks, block_size
        self._step_tokens, self._most_running, self._depth = step_tokens, most_running, depth
        self._limits = limits or FixedLimits(most_running, step_tokens)
        self._pools = [BlockPool(blocks) for _ in range(ranks)]
        self._running: list[list[Sequence]] = [[] for _ in range(ranks)]
        self._waiting: deque[Sequence] = deque()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def running(self) -> int:
        return sum(self.running_by_rank)

    @property
    def running_by_rank(self) -> tuple[int, ...]:
        return tuple(len(sequences) for sequences in self._running)

    @property
    def running_limit(self) -> int:
        """Sequences that a rank may run now, in all steps in flight together."""
        return min(self._limits.running * self._depth, self._most_running)

    @property
    def free_blocks(self) -> tuple[int, ...]:
        """By rank; those that are kept only for prompts to come among them."""
        return tuple(pool.free for pool in self._pools)

    @property
    def kept_blocks(self) -> tuple[int, ...]:
        """By rank: free ones whose content may be used again."""
        return tuple(pool.kept for pool in self._pools)

    @property
    def longest_sequence(self) -> int:
        """Tokens that one sequence may have at most."""
        return self._blocks * self._block_size

    def add(self, sequence: Sequence) -> None:
        """Raises ValueError when no rank could ever hold it."""
        if sequence.longest > self.longest_sequence:
            raise ValueError(f"{sequence.longest} tokens do not fit a cache of {self.longest_sequence}")
        self._waiting.append(sequence)

    def next_step(self) -> list[list[Turn]]:
        """The turns of each rank, those of one token first; all empty when there is nothing to do."""
        self._admit()
        able = self._running if self._depth == 1 else [self._share(sequences) for sequences in self._running]
        singles = [[Turn(s, s.computed, 1) for s in sequences if s.length - s.computed == 1] for sequences in able]
        chunk = self._limits.chunk(max(map(len, singles)))  # ranks step together: each waits for the slowest
        return [self._turns(*rank, chunk) for rank in zip(able, singles, strict=True)]

    def depart(self, turns: Series[Series[Turn]]) -> None:
        """The step is in flight: until its turns have advanced, no other has their sequences."""
        for rank in turns:
            for turn in rank:
                turn.sequence.in_flight = True

    def advance(self, turn: Turn) -> None:
        """The turn's tokens are in the cache now; a sequence that was given up meanwhile is removed."""
        sequence = turn.sequence
        sequence.computed, sequence.in_flight = turn.start + turn.count, False
        if sequence.given_up:
            self.remove(sequence)

    def grow(self, sequence: Sequence) -> None:
        """One more token of it is known."""
        sequence.length += 1

    def publish(self, sequence: Sequence, first: int, blocks: Series[FullBlock]) -> None:
        """`blocks`, from its block number `first` on, are computed to their ends: others may use them."""
        for place, full in enumerate(blocks, first):
            self._pools[sequence.rank].publish(sequence.blocks[place], full)

    def remove(self, sequence: Sequence) -> None:
        """It is finished or given up: its blocks are free again, at once or when the step it is in has come back."""
        if sequence.rank == WAITING:
            self._waiting.remove(sequence)
            return
        if sequence.in_flight:
            sequence.given_up = True
            return
        self._running[sequence.rank].remove(sequence)
        self._pools[sequence.rank].give_back(sequence.blocks)
        sequence.blocks = []

    def _admit(self) -> None:
        # First come, first admitted: a long one at the head is not overtaken, so it cannot starve.
        while self._waiting:
            need = -(-self._waiting[0].longest // self._block_size)
            found = self._place_for(self._waiting[0], need)
            if found is None:
                return
            (rank, match), sequence = found, self._waiting.popleft()
            sequence.rank = rank
            sequence.blocks = self._pools[rank].share(match)
            sequence.blocks += self._pools[rank].take(need - len(match.blocks))
            sequence.computed = len(match.blocks) * self._block_size
            sequence.inherited = match.logprobs
            self._running[rank].append(sequence)

    def _place_for(self, sequence: Sequence, need: int) -> tuple[int, Match] | None:
        """The rank that holds most of its prompt among those that have room and not clearly more to do than others."""
        able, most = [], self.running_limit
        for rank, running in enumerate(self._running):
            if len(running) < most:
                match = self._pools[rank].match(sequence.prefix)
                if self._pools[rank].can_hold(need, match):
                    able.append((len(running), rank, match))
        fewest = min((running for running, _, _ in able), default=0)
        near = [place for place in able if place[0] <= fewest + CLEARLY_MORE]
        best = min(near, key=lambda p: (-len(p[2].blocks), p[0], -self._pools[p[1]].free), default=None)
        return None if best is None else best[1:]

    def _share(self, sequences: list[Sequence]) -> list[Sequence]:
        """Those that are in no step, but not more than keep all steps in flight equally large."""
        share = -(-len(sequences) // self._depth)
        return [sequence for sequence in sequences if not sequence.in_flight][:share]

    def _turns(self, sequences: list[Sequence], singles: list[Turn], chunk: int) -> list[Turn]:
        left, chunks = min(chunk, self._step_tokens - len(singles)), []
        for sequence in sequences:
            missing = sequence.length - sequence.computed
            if missing > 1 and left:
                count = min(missing, left)
                chunks.append(Turn(sequence, sequence.computed, count))
                left -= count
        return singles + sorted(chunks, key=lambda turn: turn.count > 1)  # the budget may leave one token to the last


def extent(turns: Series[Series[Turn]]) -> tuple[int, int]:
    """What makes a step long: the most sequences that generate on one rank, and the most prompt tokens on one."""
    rows = max(sum(turn.count == 1 for turn in rank) for rank in turns)
    return rows, max(sum(turn.count for turn in rank if turn.count > 1) for rank in turns)
