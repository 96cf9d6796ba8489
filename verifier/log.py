"""Verifies a whole log in one pass: every event, the tree over them, every checkpoint inside and outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from verifier import gone
from verifier.checkpoints import VerifyingKey
from verifier.events import Checked, Event, Wrong, check
from verifier.findings import Altered, CannotRead, moment
from verifier.gone import Gone
from verifier.reading import Leaf, Reader
from verifier.subtrees import Subtrees
from verifier.tree import Tree
from verifier.witnesses import LAG, Witnesses

Progress = Callable[[int], None]  # told the number of leaves now and then
_TELL_EVERY = 8192  # leaves
_PURGE_WAITS = (
    "Events are gone, and the purge that says so is not sealed yet: verify again in a minute. If this stays, sealing "
    "has stopped, or somebody put that purge there."
)
_ERASURE_WAITS = (
    "Private facts are gone by an erasure that is not sealed yet: verify again in a minute. If this stays, sealing has "
    "stopped, or somebody put that erasure there."
)


@dataclass(frozen=True)
class Intact:
    """What a log without fault holds."""

    leaves: int
    events: int  # in the tree and in the database
    erased: int  # events without their private facts, rightly
    purged: int  # events removed, rightly
    unsealed: int  # events not in the tree yet
    checkpoints: int
    outside: bool  # whether checkpoints kept outside were compared
    lagging: int  # the last checkpoints that are not outside yet
    root: str | None  # hex, of the last checkpoint
    sealed_at: float | None  # unix seconds, of the last checkpoint
    warnings: tuple[str, ...] = ()  # what is no fault, and should not stay so; a sentence each


def verify(
    reader: Reader,
    key: VerifyingKey,
    outside: Iterator[tuple[Any, Any]] | None,
    progress: Progress | None = None,
    sampled: bool = False,
) -> Intact:
    """`outside`: (tree size, note) of the checkpoints kept outside, by size; `sampled`: only some of them were kept.

    Raises Altered with the first fault, CannotRead. Memory grows with the number of erasures and purges only.
    """
    return _Verification(reader, key, outside, sampled).run(progress or (lambda leaves: None))


class _Verification:
    def __init__(
        self, reader: Reader, key: VerifyingKey, outside: Iterator[tuple[Any, Any]] | None, sampled: bool
    ) -> None:
        self._reader = reader
        self._outside = outside is not None
        self._tree = Tree()
        self._gone = Gone()
        self._subtrees = Subtrees(reader)
        self._witnesses = Witnesses(key, reader.checkpoints(), outside, sampled)
        self._unsealed = 0

    def run(self, progress: Progress) -> Intact:
        try:
            self._leaves(progress)
            self._witnesses.end(self._tree.size)
            self._subtrees.end(self._tree.size)
            self._gone.settle()
            erasure_waits = self._waiting()
        except Altered as found:
            found.unsettled = self._open()
            raise
        self._justified()
        self._all_counted()
        return self._intact(erasure_waits)

    def _leaves(self, progress: Progress) -> None:
        due = self._witnesses.due
        if due == 0:
            due = self._seen()
        for leaf in self._reader.leaves():
            for subtree in self._tree.append(self._leaf(leaf)):
                self._subtrees.met(*subtree)
            if self._tree.size == due:
                due = self._seen()
            if not self._tree.size % _TELL_EVERY:
                progress(self._tree.size)

    def _seen(self) -> int | None:
        self._gone.signed(self._witnesses.see(self._tree).sealed_at)
        self._subtrees.settle()
        return self._witnesses.due

    def _leaf(self, leaf: Leaf) -> bytes:
        """The leaf's hash, once it is known to be its event's."""
        index, event_id, hash_, event = leaf
        place = self._tree.size
        if index != place or type(index) is not int:
            raise _misplaced(index, place, event_id)
        if event[0] is None:
            self._gone.without_event(index, str(event_id))
            return _bytes_of(hash_, index, event_id)
        checked = self._checked(event, index)
        if event[11] != hash_:
            raise _altered("The tree holds another hash for it than its columns have.", event, index)
        return checked.leaf

    def _checked(self, event: Event, index: int | None) -> Checked:
        try:
            checked = check(event)
            if checked.erased:
                self._gone.without_facts(event, index)
            if event[3] in gone.KINDS:
                self._gone.met(event, checked.facts, index)
        except Wrong as wrong:
            raise _altered(str(wrong), event, index) from wrong
        return checked

    def _waiting(self) -> bool:
        """Reads what waits to be sealed; whether private facts are gone that nothing else explains."""
        rows_open, facts_open = self._gone.rows_open, self._gone.facts_open
        for event_id, hash_, event in self._reader.unsealed():
            if event[0] is None:
                raise Altered("It waits to be sealed, but the event itself is not there.", event_id=str(event_id))
            self._checked(event, None)
            if event[11] != hash_:
                raise _altered("It waits to be sealed under another hash than its columns have.", event, None)
            self._unsealed += 1
        if rows_open and not self._gone.rows_open:
            raise CannotRead(_PURGE_WAITS)
        return facts_open and not self._gone.facts_open

    def _justified(self) -> None:
        """Whatever is gone must have been purged or erased; both are known only at the end of the log."""
        missing, bare, unfounded = self._gone.first_missing, self._gone.first_bare, self._gone.unfounded
        if missing is not None:
            raise Altered("This event is not there, and no purge removed it.", missing[0], event_id=missing[1])
        if unfounded is not None:
            event, index, why = unfounded
            raise _altered(why, event, index)
        if bare is not None:
            why = "Its private facts are gone, and no later erasure or deletion in the log says so."
            raise Altered(why, bare.leaf_index, None, bare.event_id, bare.kind, bare.tenant, bare.at)
        if self._gone.missing != self._gone.purged:
            why = f"{self._gone.missing} purged events are missing, but the log's purges removed {self._gone.purged}."
            raise Altered(why)

    def _all_counted(self) -> None:
        twice = self._reader.repeated()
        if twice is not None:
            raise Altered("The log holds this event twice.", twice[0], event_id=str(twice[1]))
        read = {
            "audit_leaves": self._tree.size,
            "audit_unsealed": self._unsealed,
            "audit_checkpoints": self._witnesses.in_database,
        }
        for table, rows in read.items():
            if (stored := self._reader.count(table)) != rows:
                raise Altered(
                    f"{table} has {stored} rows, of which {rows} can be read by their key: some are repeated."
                )
        if self._reader.count("audit_events") != self._tree.size - self._gone.missing + self._unsealed:
            stray = self._reader.stray()
            if stray is None:
                raise Altered("audit_events has rows that neither the tree nor audit_unsealed leads to.")
            raise _altered("It is neither in the tree nor waiting to be sealed: it was put there.", stray, None)

    def _open(self) -> str | None:
        """What was not settled when something else was found."""
        missing, bare = self._gone.first_missing, self._gone.first_bare
        notes = []
        if missing is not None:
            notes.append(f"the event of leaf {missing[0]} is not there")
        if bare is not None and bare.leaf_index is not None:
            notes.append(f"the event of leaf {bare.leaf_index} is without its private facts")
        return f"Whether rightly is not settled: {' and '.join(notes)}." if notes else None

    def _intact(self, erasure_waits: bool) -> Intact:
        last, seen = self._witnesses.last, self._witnesses
        return Intact(
            leaves=self._tree.size,
            events=self._tree.size - self._gone.missing,
            erased=self._gone.erased,
            purged=self._gone.missing,
            unsealed=self._unsealed,
            checkpoints=seen.seen,
            outside=self._outside,
            lagging=seen.lagging,
            root=last.root.hex() if last is not None else None,
            sealed_at=last.sealed_at if last is not None else None,
            warnings=tuple(self._warnings(erasure_waits)),
        )

    def _warnings(self, erasure_waits: bool) -> Iterator[str]:
        behind, last = self._witnesses.lagging, self._witnesses.witnessed
        if behind > LAG:
            known = "no event is" if last is None else f"the first {last.size:,} events are"
            until = "" if last is None else f", up to {moment(last.sealed_at)}"
            yield (
                f"The last {behind:,} checkpoints are in the database only: {known} vouched for outside{until}. The "
                "product keeps each outside before it makes the next; this file was copied earlier, or its end cut off."
            )
        if erasure_waits:
            yield _ERASURE_WAITS


def _altered(why: str, event: Event, index: int | None) -> Altered:
    """Names the event by whatever of it can be read."""
    id_, at, tenant, kind = event[:4]
    id_, kind, tenant = (value if type(value) is str else None for value in (id_, kind, tenant))
    return Altered(why, index, None, id_, kind, tenant, at if type(at) is float else None)


def _misplaced(index: Any, place: int, event_id: Any) -> Altered:
    if type(index) is not int:
        return Altered("The place of this event in the tree is not a number.", place, event_id=str(event_id))
    if index > place:
        return Altered(f"Nothing is at leaf {place}; the next one is leaf {index}.", place)
    why = f"It stands at leaf {index}, where another event stands already or none can."
    return Altered(why, index, event_id=str(event_id))


def _bytes_of(hash_: Any, index: int, event_id: Any) -> bytes:
    try:
        raw = bytes.fromhex(hash_)
    except (TypeError, ValueError):
        raw = b""
    if len(raw) != 32 or raw.hex() != hash_:
        raise Altered("The hash of its leaf is not a hash.", index, event_id=str(event_id))
    return raw
