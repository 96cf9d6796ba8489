"""Decides which sequences run next, on which rank and in which cache blocks; knows no tensors and no texts.

A sequence reserves all the blocks it may ever need when it is admitted, so nothing that runs is ever put back.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

WAITING = -1  # the rank of a sequence that no rank holds yet


@dataclass(slots=True, eq=False)
class Sequence:
    """One generation's progress in numbers of tokens."""

    id: str
    prompt: int
    longest: int  # prompt and all it may generate
    length: int = 0  # tokens known so far
    computed: int = 0  # of these, in the cache
    rank: int = WAITING
    blocks: list[int] = field(default_factory=list)

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


class BlockAllocator:
    """The free blocks of one rank's cache."""

    def __init__(self, blocks: int) -> None:
        self._free = deque(range(blocks))

    @property
    def free(self) -> int:
        return len(self._free)

    def take(self, count: int) -> list[int]:
        """Raises ValueError when fewer are free."""
        if count > len(self._free):
            raise ValueError(f"{count} blocks wanted, {len(self._free)} free")
        return [self._free.popleft() for _ in range(count)]

    def give_back(self, blocks: list[int]) -> None:
        self._free.extend(blocks)


class Scheduler:
    def __init__(self, ranks: int, blocks: int, block_size: int, step_tokens: int, most_running: int) -> None:
        """`blocks`, `step_tokens` and `most_running` (sequences) are each rank's."""
        if most_running >= step_tokens:
            raise ValueError(f"step_tokens ({step_tokens}) must exceed the sequences of a rank ({most_running})")
        self._blocks, self._block_size = blocks, block_size
        self._step_tokens, self._most_running = step_tokens, most_running
        self._allocators = [BlockAllocator(blocks) for _ in range(ranks)]
        self._running: list[list[Sequence]] = [[] for _ in range(ranks)]
        self._waiting: deque[Sequence] = deque()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def running(self) -> int:
        return sum(len(sequences) for sequences in self._running)

    @property
    def free_blocks(self) -> tuple[int, ...]:
        return tuple(allocator.free for allocator in self._allocators)

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
        return [self._turns(sequences) for sequences in self._running]

    def advance(self, turn: Turn) -> None:
        """The turn's tokens are in the cache now."""
        turn.sequence.computed = turn.start + turn.count

    def grow(self, sequence: Sequence) -> None:
        """One more token of it is known."""
        sequence.length += 1

    def remove(self, sequence: Sequence) -> None:
        """It is finished or given up: its blocks are free again."""
        if sequence.rank == WAITING:
            self._waiting.remove(sequence)
            return
        self._running[sequence.rank].remove(sequence)
        self._allocators[sequence.rank].give_back(sequence.blocks)
        sequence.blocks = []

    def _admit(self) -> None:
        # First come, first admitted: a long one at the head is not overtaken, so it cannot starve.
        while self._waiting:
            need = -(-self._waiting[0].longest // self._block_size)
            rank = self._rank_for(need)
            if rank is None:
                return
            sequence = self._waiting.popleft()
            sequence.rank, sequence.blocks = rank, self._allocators[rank].take(need)
            self._running[rank].append(sequence)

    def _rank_for(self, blocks: int) -> int | None:
        able = [
            rank
            for rank, allocator in enumerate(self._allocators)
            if allocator.free >= blocks and len(self._running[rank]) < self._most_running
        ]
        return min(able, key=lambda rank: (len(self._running[rank]), -self._allocators[rank].free), default=None)

    def _turns(self, sequences: list[Sequence]) -> list[Turn]:
        singles = [Turn(s, s.computed, 1) for s in sequences if s.length - s.computed == 1]
        left, chunks = self._step_tokens - len(singles), []
        for sequence in sequences:
            missing = sequence.length - sequence.computed
            if missing > 1 and left:
                count = min(missing, left)
                chunks.append(Turn(sequence, sequence.computed, count))
                left -= count
        return singles + sorted(chunks, key=lambda turn: turn.count > 1)  # the budget may leave one token to the last
