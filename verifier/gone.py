"""Knows what may rightly be gone from a log: purged rows, and private facts of the erased; memory grows with these."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from verifier.events import Event, Wrong

ERASED, DELETED, PURGED = "subject.erased", "interaction.deleted", "audit.purged"
KINDS = frozenset((ERASED, DELETED, PURGED))

_DAY = 86_400.0  # seconds
_FLOOR = 183 * _DAY  # no purge removes anything younger
_PURGES = "default"  # the tenant that purges belong to: they are of the whole log
_SLACK = _DAY  # by which a clock may have been set back between a purge and its sealing

_Whose = tuple[str | None, str | None, str]  # subject, interaction, tenant
_Erasure = tuple[str, str | None, str]  # kind, whose, tenant
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


@dataclass(frozen=True, slots=True)
class _Purge:
    event: Event
    leaf_index: int | None
    before: int
    cutoff: float  # unix seconds


@dataclass(slots=True)
class Gone:
    """What is missing, and what has been met that justifies it."""

    erased: int = 0  # events without their private facts
    missing: int = 0  # leaves without their event
    purged: int = 0  # events that purges say they removed
    unfounded: tuple[Event, int | None, str] | None = None  # the first purge that its checkpoints contradict, and why
    _furthest: _Purge | None = None  # leaves under its `before` may be missing
    _unsigned: list[_Purge] = field(default_factory=list)  # since the last checkpoint
    _missing_since: bool = False  # whether a leaf after the last checkpoint is without its event
    _missing_signed: float = _NEVER  # when the last leaf without its event was sealed, by its checkpoint
    _runs: list[_Missing] = field(default_factory=list)
    _erasures: dict[_Erasure, float] = field(default_factory=dict)  # → latest time
    _bare: dict[_Whose, Bare] = field(default_factory=dict)  # the first of each
    _waiting: dict[_Erasure, set[_Whose]] = field(default_factory=dict)  # which erasure would cover them

    def met(self, event: Event, facts: dict[str, Any], leaf_index: int | None) -> None:
        """Takes note of an event of one of KINDS. Raises Wrong when it does not say what its kind must say."""
        at, tenant, kind = event[1:4]
        if kind == PURGED:
            self._met_purge(event, facts, leaf_index)
            return
        whose = facts.get("subject") if kind == ERASED else event[5]
        if type(whose) is not str:
            raise Wrong(f"It is a {kind} that does not say of whom." if kind == ERASED else f"It is a {kind} of none.")
        erasure = (kind, whose, tenant)
        self._erasures[erasure] = max(at, self._erasures.get(erasure, at))
        for key in self._waiting.pop(erasure, ()):
            self._bare.pop(key, None)

    def _met_purge(self, event: Event, facts: dict[str, Any], leaf_index: int | None) -> None:
        before, events, cutoff = facts.get("before_index"), facts.get("events"), facts.get("cutoff")
        if type(before) is not int or type(events) is not int or before < 0 or events < 0:
            raise Wrong("It is an audit.purged that does not say how many events before which leaf.")
        if isinstance(cutoff, bool) or not isinstance(cutoff, int | float) or not cutoff <= event[1] - _FLOOR:
            raise Wrong("It is an audit.purged whose cutoff is not at least 183 days before it.")
        if event[2] != _PURGES:
            raise Wrong(f"It is an audit.purged of another tenant than {_PURGES}, to which purges belong.")
        if leaf_index is not None and before > leaf_index:
            raise Wrong("It is an audit.purged of leaves that come after it.")
        purge = _Purge(event, leaf_index, before, float(cutoff))
        self._unsigned.append(purge)
        self.purged += events
        if self._furthest is None or before > self._furthest.before:
            self._furthest = purge
        self._runs = [run for run in self._runs if run.end > self._before]
        if self._runs and self._runs[0].first < self._before:
            self._runs[0].first, self._runs[0].event_id = self._before, None

    @property
    def _before(self) -> int:
        return 0 if self._furthest is None else self._furthest.before

    def signed(self, sealed_at: float) -> None:
        """A checkpoint of this time covers all leaves so far: unlike an event's, its time was signed."""
        for purge in self._unsigned:
            if purge.cutoff > sealed_at - _FLOOR + _SLACK:
                self._found(purge, "It is an audit.purged with a time of its own making: it was sealed long before.")
        self._unsigned = []
        if self._missing_since:
            self._missing_since, self._missing_signed = False, sealed_at

    def settle(self) -> None:
        """After the last leaf: what is missing was sealed before the purge's cutoff."""
        purge = self._furthest
        if purge is not None and self._missing_signed > purge.cutoff:
            self._found(purge, "It is an audit.purged of events that were sealed after its cutoff.")

    def _found(self, purge: _Purge, why: str) -> None:
        if self.unfounded is None:
            self.unfounded = purge.event, purge.leaf_index, why

    def without_event(self, leaf_index: int, event_id: str) -> None:
        self.missing += 1
        self._missing_since = True
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
        covering = ((ERASED, subject, tenant), (DELETED, interaction, tenant))
        if at <= max(self._erasures.get(erasure, _NEVER) for erasure in covering):
            return
        whose = (subject, interaction, tenant)
        self._bare.setdefault(whose, Bare(leaf_index, id_, kind, tenant, at))
        for erasure in covering:
            self._waiting.setdefault(erasure, set()).add(whose)

    @property
    def rows_open(self) -> bool:
        """Whether events are missing that the purges met so far do not account for."""
        return bool(self._runs) or self.missing != self.purged

    @property
    def facts_open(self) -> bool:
        """Whether private facts are gone that the erasures met so far do not account for."""
        return bool(self._bare)

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
