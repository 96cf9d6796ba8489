"""Names each full block of tokens by everything up to its end, so that equal prefixes have equal names."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

Key = bytes
_KEY_BYTES = 16  # of BLAKE2b: nobody can make up a prompt whose blocks are taken for another's


@dataclass(frozen=True, slots=True)
class Link:
    """One full block of a prompt, as it is looked for in a cache."""

    key: Key
    successor: int  # the token after the block where its log-probability must be known, else NO_TARGET


class BlockKeys:
    """The keys of one sequence's full blocks, in order. Sequences of different salts never share a key.

    Which tokens are content is part of the name: only their log-probabilities are measured and kept.
    """

    def __init__(self, salt: str, block_size: int) -> None:
        self._parent = hashlib.blake2b(salt.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).digest()
        self._block_size = block_size
        self.keys: list[Key] = []

    def extend(self, ids: Sequence[int], content: Sequence[bool]) -> None:
        """`ids` and `content` are the whole sequence so far; only blocks that are full by now get a key."""
        size = self._block_size
        for first in range(len(self.keys) * size, len(ids) // size * size, size):
            block = array("q", ids[first : first + size]).tobytes() + bytes(content[first : first + size])
            self._parent = hashlib.blake2b(self._parent + block, digest_size=_KEY_BYTES).digest()
            self.keys.append(self._parent)

    def links(self, ids: Sequence[int], targets: Sequence[int]) -> tuple[Link, ...]:
        """The blocks of a prompt that need not be computed: its last token must be, for what follows from it."""
        count = (len(ids) - 1) // self._block_size
        return tuple(
            Link(key, targets[(place + 1) * self._block_size - 1]) for place, key in enumerate(self.keys[:count])
        )
