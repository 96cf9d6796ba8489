"""Decides which sequences run next, on which rank and in which cache blocks; knows no tensors and no texts.

A sequence reserves all the blocks it may ever need when it is admitted, so nothing that runs is ever put back. Those
that hold the beginning of its prompt already are shared instead.

Where ranks are a grid, a rank here is one of each stage: together they hold a sequence, each its own layers of it.
Several steps are then in flight, each of other sequences. Ranks that hold all layers know what they have just drawn:
the step after may be sent while that is on its way, with the same sequences.
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
    length: int = 0  # tokens so far, one that a step in flight draws among them
    sent: int = 0  # of these, in the cache once all steps in flight have come back
    computed: int = 0  # of these, in the cache
    pending: int | None = None  # where the newest step in flight has it, if that draws its next token
    rank: int = WAITING
    blocks: list[int] = field(default_factory=list)
    inherited: tuple[float, ...] = ()  # log-probabilities of its first tokens, known from those who computed them
    in_flight: int = 0  # steps whose answers have not come
    given_up: bool = False  # when they have, its blocks are free

    def __post_init__(self) -> None:
        self.length = self.length or self.prompt


@dataclass(frozen=True, slots=True)
class Turn:
    """Compute `count` tokens of a sequence from `start` on; `draws` when the next token follows from them."""

    sequence: Sequence
    start: int
    count: int
    draws: bool


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

        Stages compute `depth` steps at a time, each of other sequences, and `limits` speak of one of them.
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
        able = [self._able(sequences) for sequences in self._running]
        singles = [[Turn(s, s.sent, 1, True) for s in sequences if s.length - s.sent == 1] for sequences in able]
        chunk = self._limits.chunk(max(map(len, singles)))  # ranks step together: each waits for the slowest
        return [self._turns(*rank, chunk) for rank in zip(able, singles, strict=True)]

    def depart(self, turns: Series[Series[Turn]]) -> None:
        """The step is in flight; what it draws will be the next tokens of its sequences."""
        for rank in turns:
            for place, turn in enumerate(rank):
                sequence = turn.sequence
                sequence.sent = turn.start + turn.count
                sequence.in_flight += 1
                if turn.draws:
                    sequence.length += 1
                    sequence.pending = place

    def advance(self, turn: Turn) -> None:
        """The turn's tokens are in the cache now; a sequence that was given up meanwhile may be removed."""
        sequence = turn.sequence
        sequence.computed = turn.start + turn.count
        sequence.in_flight -= 1
        if not sequence.in_flight:
            sequence.pending = None
            if sequence.given_up:
                self.remove(sequence)

    def publish(self, sequence: Sequence, first: int, blocks: Series[FullBlock]) -> None:
        """`blocks`, from its block number `first` on, are computed to their ends: others may use them."""
        for place, full in enumerate(blocks, first):
            self._pools[sequence.rank].publish(sequence.blocks[place], full)

    def remove(self, sequence: Sequence) -> None:
        """It is finished or given up: its blocks are free again, at once or when the steps it is in have come back."""
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
            sequence.sent = sequence.computed = len(match.blocks) * self._block_size
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

    def _able(self, sequences: list[Sequence]) -> list[Sequence]:
        """Those that another step can compute; where stages have a step each, not more than keep these equally large.

        What follows the last token that a sequence may have is never asked for.
        """
        able = [s for s in sequences if s.sent < s.length < s.longest and not s.given_up]
        if self._depth == 1:
            return able
        share = -(-len(sequences) // self._depth)
        return [sequence for sequence in able if not sequence.in_flight][:share]

    def _turns(self, sequences: list[Sequence], singles: list[Turn], chunk: int) -> list[Turn]:
        left, chunks = min(chunk, self._step_tokens - len(singles)), []
        for sequence in sequences:
            missing = sequence.length - sequence.sent
            if missing > 1 and left:
                count = min(missing, left)
                chunks.append(Turn(sequence, sequence.sent, count, count == missing))
                left -= count
        return singles + sorted(chunks, key=lambda turn: turn.count > 1)  # the budget may leave one token to the last


def extent(turns: Series[Series[Turn]]) -> tuple[int, int]:
    """What makes a step long: the most sequences that generate on one rank, and the most prompt tokens on one."""
    rows = max(sum(turn.count == 1 for turn in rank) for rank in turns)
    return rows, max(sum(turn.count for turn in rank if turn.count > 1) for rank in turns)
