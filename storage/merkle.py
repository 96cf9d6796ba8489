"""Knows the Merkle tree of RFC 9162 over SHA-256: its hashes, its roots, and proofs that it holds and only grows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
TILE_BITS = 8  # nodes are kept for complete subtrees of 256^k leaves

Range = tuple[int, int]  # leaves from the first to before the second
Node = tuple[int, int, bytes]  # level k ≥ 1, position, root of the leaves position·256^k … (position + 1)·256^k − 1
Hashes = Callable[[int, int, int], Sequence[bytes]]
"""(k, start, stop) → the roots of the complete subtrees of 256^k leaves at these positions; k = 0: the leaf hashes."""


def leaf_hash(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """What is needed to go on growing a tree: the roots of its largest complete subtrees, from left to right."""

    def __init__(self, size: int = 0, roots: Sequence[bytes] = ()) -> None:
        """`roots`: one for each bit of `size` that is set, the highest first; raises ValueError otherwise."""
        if size < 0 or len(roots) != size.bit_count():
            raise ValueError(f"A tree of {size} leaves does not have {len(roots)} complete subtrees.")
        self.size = size
        self._roots = list(roots)

    def copy(self) -> Frontier:
        return Frontier(self.size, self._roots)

    def append(self, leaves: Sequence[bytes]) -> list[Node]:
        """Adds leaf hashes; returns the nodes of 256^k leaves that became complete."""
        sha256, roots, size = hashlib.sha256, self._roots, self.size
        completed: list[Node] = []
        for root in leaves:
            height = 0
            while size >> height & 1:
                root = sha256(b"\x01" + roots.pop() + root).digest()
                height += 1
                if height % TILE_BITS == 0:
                    completed.append((height // TILE_BITS, size >> height, root))
            roots.append(root)
            size += 1
        self.size = size
        return completed

    def root(self) -> bytes:
        if not self._roots:
            return EMPTY_ROOT
        found = self._roots[-1]
        for left in reversed(self._roots[:-1]):
            found = node_hash(left, found)
        return found


def frontier_ranges(size: int) -> list[Range]:
    """The complete subtrees that a frontier of `size` leaves holds the roots of."""
    ranges, start = [], 0
    for height in reversed(range(size.bit_length())):
        if size >> height & 1:
            ranges.append((start, start + (1 << height)))
            start += 1 << height
    return ranges


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """Whose roots prove that leaf `index` is in the tree of `size` leaves, from the leaf upwards (RFC 9162, 2.1.3.1).

    Raises ValueError unless 0 ≤ index < size.
    """
    if not 0 <= index < size:
        raise ValueError(f"A tree of {size} leaves has no leaf {index}.")
    start, stop, siblings = 0, size, []
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            siblings.append((middle, stop))
            stop = middle
        else:
            siblings.append((start, middle))
            start = middle
    return siblings[::-1]


def consistency_ranges(first: int, second: int) -> list[Range]:
    """Whose roots prove that the tree of `second` leaves begins with that of `first` (RFC 9162, 2.1.4.1).

    Raises ValueError unless 1 ≤ first ≤ second.
    """
    if not 1 <= first <= second:
        raise ValueError(f"A tree of {second} leaves did not grow from one of {first}.")
    start, stop, others = 0, second, []
    while stop > first:
        middle = start + _split(stop - start)
        if first <= middle:
            others.append((middle, stop))
            stop = middle
        else:
            others.append((start, middle))
            start = middle
    if start > 0:  # otherwise the verifier knows this root: it is the first tree's own
        others.append((start, stop))
    return others[::-1]


def root_of(hashes: Hashes, leaves: Range) -> bytes:
    """The root over `leaves`, a range as the functions above return them, from what `hashes` reads."""
    start, stop = leaves
    size = stop - start
    if size == 0:
        return EMPTY_ROOT
    if size & (size - 1) == 0:
        return _complete_root(hashes, start, size.bit_length() - 1)
    middle = start + _split(size)
    return node_hash(root_of(hashes, (start, middle)), root_of(hashes, (middle, stop)))


def _complete_root(hashes: Hashes, start: int, height: int) -> bytes:
    level, folds = divmod(height, TILE_BITS)
    position = start >> (level * TILE_BITS)
    row = list(hashes(level, position, position + (1 << folds)))
    if len(row) != 1 << folds:
        raise ValueError(f"The tree lacks hashes of level {level} from position {position}.")
    while len(row) > 1:
        row = [node_hash(row[place], row[place + 1]) for place in range(0, len(row), 2)]
    return row[0]


def _split(size: int) -> int:
    """The largest power of two that is smaller than `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def proves_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether `path` leads from the leaf hash to `root` (RFC 9162, 2.1.3.2); False for anything that does not fit."""
    if not 0 <= index < size or not _all_hashes((leaf, root, *path)):
        return False
    place, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if place & 1 or place == last:
            found = node_hash(sibling, found)
            while place & 1 == 0 and place != 0:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and found == root


def proves_consistency(first: int, second: int, path: Sequence[bytes], first_root: bytes, second_root: bytes) -> bool:
    """Whether `path` shows that the second tree begins with the first (RFC 9162, 2.1.4.2)."""
    if not 1 <= first <= second or not _all_hashes((first_root, second_root, *path)):
        return False
    if first == second:
        return not path and first_root == second_root
    nodes = [first_root, *path] if first & (first - 1) == 0 else list(path)
    if not nodes:
        return False
    place, last = first - 1, second - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    of_first = of_second = nodes[0]
    for node in nodes[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            of_first, of_second = node_hash(node, of_first), node_hash(node, of_second)
            while place & 1 == 0 and place != 0:
                place, last = place >> 1, last >> 1
        else:
            of_second = node_hash(of_second, node)
        place, last = place >> 1, last >> 1
    return last == 0 and of_first == first_root and of_second == second_root


def _all_hashes(values: Sequence[bytes]) -> bool:
    return all(len(value) == HASH_BYTES for value in values)
