"""Compares the subtree roots that the database keeps for proofs with those that the leaves give."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from verifier.findings import Altered
from verifier.reading import Reader
from verifier.tree import kept_subtrees


class Subtrees:
    """A wrong one is held back until the next checkpoint tells whether it or its leaves were altered."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._levels: dict[int, Iterator[tuple[Any, Any]]] = {}
        self._suspect: Altered | None = None

    def met(self, level: int, position: int, root: bytes) -> None:
        """Takes the next complete subtree of a level."""
        if self._suspect is not None:
            return
        if level not in self._levels:
            self._levels[level] = self._reader.nodes(level)
        stored = next(self._levels[level], None)
        named = f"audit_nodes, level {level}, position {position}"
        if stored is None or type(stored[0]) is not int or stored[0] != position:
            self._suspect = Altered(f"{named}, is not where it should be: a row was added, removed or moved.")
        elif stored[1] != root.hex():
            self._suspect = Altered(f"{named}, holds another root than its leaves have; the leaves are right.")

    def settle(self) -> None:
        """The leaves so far are as they were signed. Raises Altered when a stored root is not."""
        if self._suspect is not None:
            raise self._suspect

    def end(self, size: int) -> None:
        """Raises Altered."""
        self.settle()
        stored, right = self._reader.count("audit_nodes"), kept_subtrees(size)
        if stored != right:
            raise Altered(f"audit_nodes has {stored} rows where {size} leaves need {right}.")
