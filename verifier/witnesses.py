"""Walks the database's checkpoints and those kept outside side by side, as the tree reaches the size of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from verifier.checkpoints import BadCheckpoint, Checkpoint, VerifyingKey
from verifier.findings import Altered, CannotRead
from verifier.tree import Tree

LAG = 3  # checkpoints by which the file outside may honestly be behind: one, and those made while it is read
_IN_DATABASE = "The checkpoint of size {} in the database"
_OUTSIDE = "The checkpoint of size {} kept outside"


class _Row:
    """One source of checkpoints, a step at a time: sizes rise, times do not fall, each is signed."""

    def __init__(self, rows: Iterator[tuple[Any, Any]], key: VerifyingKey, name: str) -> None:
        self._rows = rows
        self._key = key
        self._name = name
        self.count = 0
        self._before: Checkpoint | None = None
        self.note: str | None = None
        self.next: Checkpoint | None = None

    @property
    def seen(self) -> Checkpoint:
        """The checkpoint that stands here. Raises ValueError when none is left."""
        if self.next is None:
            raise ValueError("No checkpoint is left here.")
        return self.next

    def advance(self) -> None:
        """Raises Altered."""
        row = next(self._rows, None)
        if self.next is not None:
            self._before = self.next
        self.note, self.next = None, None
        if row is None:
            return
        self.count += 1
        size, note = row
        named = self.named(size)
        try:
            found = self._key.opened(note)
        except BadCheckpoint as error:
            raise Altered(f"{named} {error}.") from error
        if found.size != size or type(size) is not int:
            raise Altered(f"{named} says size {found.size} in its signed text.")
        if self._before is not None and found.size <= self._before.size:
            raise Altered(f"{named} follows one of size {self._before.size}: sizes must rise.")
        if self._before is not None and found.sealed_at < self._before.sealed_at:
            raise Altered(f"{named} was sealed earlier than the one before it.")
        self.note, self.next = note, found

    def named(self, size: Any) -> str:
        return self._name.format(size)


class Witnesses:
    """`due` is the size at which the tree must be shown to `see`; None when no checkpoint is left."""

    def __init__(
        self,
        key: VerifyingKey,
        database: Iterator[tuple[Any, Any]],
        outside: Iterator[tuple[Any, Any]] | None,
        sampled: bool,
    ) -> None:
        """`sampled`: only some checkpoints are kept outside, as by somebody who fetches one now and then."""
        self._database = _Row(database, key, _IN_DATABASE)
        self._outside = _Row(outside if outside is not None else iter(()), key, _OUTSIDE)
        self._with_outside = outside is not None
        self._sampled = sampled
        self.seen = 0  # checkpoints that agree with the tree
        self.lagging = 0  # of these, the last ones that the outside file does not have yet
        self.agreed = 0  # size of the last one
        self.witnessed: Checkpoint | None = None  # the last one that is outside too
        self.last: Checkpoint | None = None
        self._database.advance()
        self._outside.advance()

    @property
    def in_database(self) -> int:
        """Checkpoints read from the database."""
        return self._database.count

    @property
    def due(self) -> int | None:
        sizes = [row.next.size for row in (self._database, self._outside) if row.next is not None]
        return min(sizes, default=None)

    def see(self, tree: Tree) -> Checkpoint:
        """Compares the root with every checkpoint of the tree's size, and returns it. Raises Altered."""
        here = [row for row in (self._database, self._outside) if row.next is not None and row.next.size == tree.size]
        root = tree.root()
        for row in here:
            if row.seen.root != root:
                raise self._other_root(row, tree.size)
        self._check_both(here, tree.size)
        self.seen += 1
        self.agreed = tree.size
        self.last = seen = here[0].seen
        if self._outside in here:
            self.witnessed = seen
        for row in here:
            row.advance()
        return seen

    def _other_root(self, row: _Row, size: int) -> Altered:
        """The checkpoint is signed, so the leaves since the last one that agreed are not those that were sealed."""
        which = "one of these events was" if size - self.agreed > 1 else "this event was"
        why = f"{row.named(size)} was signed over other leaves: {which} altered, exchanged or removed with its hash."
        return Altered(why, self.agreed, size - 1)

    def _check_both(self, here: list[_Row], size: int) -> None:
        if not self._with_outside:
            return
        if len(here) == 2:
            if here[0].note != here[1].note:
                raise Altered(f"The checkpoints of size {size} in the database and outside are not the same.")
        elif here[0] is self._outside:
            raise Altered(f"{_OUTSIDE.format(size)} is not in the database: its checkpoints were removed or rewritten.")
        elif self._outside.next is not None and self._sampled:
            return
        elif self._outside.next is not None:
            raise Altered(f"{_IN_DATABASE.format(size)} is not among those kept outside, though later ones are.")
        else:
            self.lagging += 1

    def _nothing_outside(self) -> Altered | CannotRead:
        """The product writes each checkpoint outside before it makes the next; a witness may not have begun."""
        if self._sampled:
            return CannotRead("The file of checkpoints is empty: nobody kept any. Give one that holds some.")
        why = f"The file of checkpoints is empty, and the database has {self._database.count}: it was emptied."
        return Altered(why)

    def end(self, size: int) -> None:
        """After the last leaf. Raises Altered when a checkpoint knows more leaves than there are, none knows all, or
        the file outside was emptied."""
        if self._with_outside and self._outside.count == 0 and self._database.count > LAG:
            raise self._nothing_outside()
        for row in (self._outside, self._database):
            if row.next is not None:
                why = f"{row.named(row.next.size)} knows {row.next.size - size} leaves more than the database has"
                raise Altered(f"{why}: events were removed since the one before it.", self.agreed, row.next.size - 1)
        if size != self.agreed:
            raise Altered("No checkpoint covers the log's last leaves.", self.agreed, size - 1)
