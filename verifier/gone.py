"""Knows what may rightly be gone from a log: purged rows, and private facts of the erased; memory grows with these."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from verifier.events import Event, Wrong

ERASED, DELETED, PURGED = "subject.erased", "interaction.deleted", "audit.purged"
KINDS = frozenset((ERASED, DELETED, PURGED))

_Whose = tuple[str | None, str | None]  # subject, interaction
_NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class Bare:
    """An event without its private facts, for which no erasure has been met yet."""

    leaf_index: int | None  # None: not yet in the tree
    event_id: str
    kind: str
    tenant: str
    at: float


@dataclass(slots=True)
class _Missing:
    """A run of leaves whose events are not there."""

    first: int
    end: int  # the first leaf after the run
    event_id: str | None  # of the first, where it is still known


@dataclass(slots=True)
class Gone:
    """What is missing, and what has been met that justifies it."""

    erased: int = 0  # events without their private facts
    missing: int = 0  # leaves without their event
    purged: int = 0  # events that purges say they removed
    _before: int = 0  # leaves under this one may be missing
    _runs: list[_Missing] = field(default_factory=list)
    _erasures: dict[tuple[str, str | None], float] = field(default_factory=dict)  # (kind, whose) → latest time
    _bare: dict[_Whose, Bare] = field(default_factory=dict)  # the first of each
    _waiting: dict[tuple[str, str | None], set[_Whose]] = field(default_factory=dict)  # which erasure would cover them

    def met(self, event: Event, facts: dict[str, Any], leaf_index: int | None) -> None:
        """Takes note of an event of one of KINDS. Raises Wrong when it does not say what its kind must say."""
        kind, at = event[3], event[1]
        if kind == PURGED:
            self._met_purge(facts, leaf_index)
            return
        whose = facts.get("subject") if kind == ERASED else event[5]
        if type(whose) is not str:
            raise Wrong(f"It is a {kind} that does not say of whom." if kind == ERASED else f"It is a {kind} of none.")
        self._erasures[kind, whose] = max(at, self._erasures.get((kind, whose), at))
        for key in self._waiting.pop((kind, whose), ()):
            self._bare.pop(key, None)

    def _met_purge(self, facts: dict[str, Any], leaf_index: int | None) -> None:
        before, events = facts.get("before_index"), facts.get("events")
        if type(before) is not int or type(events) is not int or before < 0 or events < 0:
            raise Wrong("It is an audit.purged that does not say how many events before which leaf.")
        if leaf_index is not None and before > leaf_index:
            raise Wrong("It is an audit.purged of leaves that come after it.")
        self.purged += events
        self._before = max(self._before, before)
        self._runs = [run for run in self._runs if run.end > self._before]
        if self._runs and self._runs[0].first < self._before:
            self._runs[0].first, self._runs[0].event_id = self._before, None

    def without_event(self, leaf_index: int, event_id: str) -> None:
        self.missing += 1
        if leaf_index < self._before:
            return
        if self._runs and self._runs[-1].end == leaf_index:
            self._runs[-1].end += 1
        else:
            self._runs.append(_Missing(leaf_index, leaf_index + 1, event_id))

    def without_facts(self, event: Event, leaf_index: int | None) -> None:
        """An erasure covers what lies before it in the tree, and what did not happen after it."""
        self.erased += 1
        id_, at, tenant, kind = event[:4]
        subject, interaction = event[9], event[5]
        covering = ((ERASED, subject), (DELETED, interaction))
        if at <= max(self._erasures.get(erasure, _NEVER) for erasure in covering):
            return
        whose = (subject, interaction)
        self._bare.setdefault(whose, Bare(leaf_index, id_, kind, tenant, at))
        for erasure in covering:
            self._waiting.setdefault(erasure, set()).add(whose)

    @property
    def first_missing(self) -> tuple[int, str | None] | None:
        """Leaf and event id of the first event that is gone without a purge; the id where it is still known."""
        if not self._runs:
            return None
        run = self._runs[0]
        return run.first, run.event_id

    @property
    def first_bare(self) -> Bare | None:
        """The first event that lost its private facts without an erasure."""
        bare = list(self._bare.values())
        return min(bare, key=lambda event: float("inf") if event.leaf_index is None else event.leaf_index, default=None)
