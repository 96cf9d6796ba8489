"""The cache blocks of one rank: in use, kept for prompts that begin alike, or empty; counts who uses each."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from serving.engine.plan import NO_TARGET
from serving.engine.prefix import Key, Link

_SUCCESSORS = 16  # remembered of a block


@dataclass(frozen=True, slots=True)
class FullBlock:
    """A block whose tokens are all in the cache, with what was measured of them."""

    key: Key
    logprobs: tuple[float, ...]  # of its own tokens, each given all before it; NaN where none was asked for
    successor: tuple[int, float] | None = None  # the token after it and that one's log-probability


@dataclass(slots=True)
class _Shared:
    key: Key
    logprobs: tuple[float, ...]
    successors: dict[int, float] = field(default_factory=dict)

    def remember(self, token: int, logprob: float) -> None:
        while len(self.successors) >= _SUCCESSORS and token not in self.successors:
            del self.successors[next(iter(self.successors))]
        self.successors[token] = logprob


@dataclass(frozen=True, slots=True)
class Match:
    """The blocks that hold the beginning of a prompt, and the log-probabilities of their tokens and of the next one."""

    blocks: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()


class BlockPool:
    def __init__(self, blocks: int) -> None:
        self._empty = deque(range(blocks))
        self._users = [0] * blocks  # sequences that hold it
        self._shared: dict[int, _Shared] = {}  # blocks whose content others may use
        self._by_key: dict[Key, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()  # shared blocks without users, least recently used first

    @property
    def free(self) -> int:
        """Blocks that may be taken: the empty ones, and those kept that nobody uses."""
        return len(self._empty) + len(self._idle)

    @property
    def kept(self) -> int:
        """Blocks whose content is kept although nobody uses it now."""
        return len(self._idle)

    def match(self, links: Sequence[Link]) -> Match:
        """The longest run of blocks from the prompt's first on of which everything is known."""
        blocks: list[int] = []
        for link in links:
            block = self._by_key.get(link.key)
            if block is None:
                break
            blocks.append(block)
        if not blocks:
            return Match()
        after = self._after(blocks[-1], links[len(blocks) - 1].successor)
        if after is None:  # nobody asked for this successor before: the last block must measure it
            after = self._shared[blocks.pop()].logprobs[0]
        logprobs = tuple(logprob for block in blocks for logprob in self._shared[block].logprobs)
        return Match(tuple(blocks), (*logprobs, after)) if blocks else Match()

    def can_hold(self, blocks: int, match: Match) -> bool:
        """Whether a sequence of so many blocks fits that shares those of `match`."""
        idle = sum(block in self._idle for block in match.blocks)
        return blocks - len(match.blocks) <= self.free - idle

    def share(self, match: Match) -> list[int]:
        """One more sequence uses these."""
        for block in match.blocks:
            self._users[block] += 1
            self._idle.pop(block, None)
        return list(match.blocks)

    def take(self, count: int) -> list[int]:
        """Blocks of one's own; what was kept in them the longest unused is forgotten. Raises ValueError: too few."""
        if count > self.free:
            raise ValueError(f"{count} blocks wanted, {self.free} free")
        taken = [self._empty.popleft() if self._empty else self._evict() for _ in range(count)]
        for block in taken:
            self._users[block] = 1
        return taken

    def publish(self, block: int, full: FullBlock) -> None:
        """Others may use it from now on; where the same content is shared already, it stays its sequence's own."""
        holder = self._by_key.setdefault(full.key, block)
        if holder not in self._shared:
            self._shared[holder] = _Shared(full.key, full.logprobs)
        if full.successor is not None:
            self._shared[holder].remember(*full.successor)

    def give_back(self, blocks: Sequence[int]) -> None:
        """A sequence's blocks in its order: its last becomes the least recently used, since it is of use to fewest."""
        for block in reversed(blocks):
            self._users[block] -= 1
            if self._users[block]:
                continue
            if block in self._shared:
                self._idle[block] = None
            else:
                self._empty.append(block)

    def _after(self, block: int, successor: int) -> float | None:
        return math.nan if successor == NO_TARGET else self._shared[block].successors.get(successor)

    def _evict(self) -> int:
        block, _ = self._idle.popitem(last=False)
        del self._by_key[self._shared.pop(block).key]
        return block
