"""Grows an RFC 9162 tree leaf by leaf in logarithmic memory, and checks inclusion proofs against a root."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

EMPTY_ROOT = sha256(b"").digest()
_SUBTREE_BITS = 8  # the database keeps the roots of complete subtrees of 256, 256², … leaves


class Tree:
    """The roots of the complete subtrees along the right edge are all that is kept."""

    def __init__(self) -> None:
        self.size = 0
        self._edge: list[bytes] = []  # largest subtree first

    def append(self, leaf: bytes) -> list[tuple[int, int, bytes]]:
        """Takes the next leaf hash; returns (level, position, root) of each kept subtree that it completes."""
        node, size, height, completed = leaf, self.size, 0, []
        while size & 1:
            node = _parent(self._edge.pop(), node)
            size >>= 1
            height += 1
            if height % _SUBTREE_BITS == 0:
                completed.append((height // _SUBTREE_BITS, size, node))
        self._edge.append(node)
        self.size += 1
        return completed

    def root(self) -> bytes:
        if not self._edge:
            return EMPTY_ROOT
        node = self._edge[-1]
        for left in self._edge[-2::-1]:
            node = _parent(left, node)
        return node


def kept_subtrees(size: int) -> int:
    """How many subtree roots a database keeps for a tree of so many leaves."""
    count = 0
    while size := size >> _SUBTREE_BITS:
        count += size
    return count


def root_of_proof(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root that an inclusion proof leads to (RFC 9162, 2.1.3.2), or None where its length cannot be right."""
    if not 0 <= index < size:
        return None
    node, position, last = leaf, index, size - 1
    for sibling in path:
        if last == 0:
            return None
        if position & 1 or position == last:
            node = _parent(sibling, node)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            node = _parent(node, sibling)
        position >>= 1
        last >>= 1
    return node if last == 0 else None


def roots_of_growth(first_root: bytes, first: int, second: int, path: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """Both roots that a consistency proof leads to (RFC 9162, 2.1.4.2), or None where its length cannot be right.

    `first` and `second` are tree sizes. The proof holds when the roots are those of the two checkpoints.
    """
    if not 0 < first <= second or (first == second and path):
        return None
    if first == second:
        return first_root, first_root
    steps = [first_root, *path] if first & (first - 1) == 0 else list(path)
    if not steps:
        return None
    position, last = first - 1, second - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old = new = steps[0]
    for step in steps[1:]:
        if last == 0:
            return None
        if position & 1 or position == last:
            old, new = _parent(step, old), _parent(step, new)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            new = _parent(new, step)
        position, last = position >> 1, last >> 1
    return (old, new) if last == 0 else None


def _parent(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()
