"""What everybody was told and what the database keeps, indexed for the checks, and what a breach is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.faults.history import Accepted, Acknowledged, Content, Granted, History, Missing, Probed
from tests.faults.snapshot import Row, Snapshot


@dataclass(frozen=True, slots=True)
class Violation:
    """One breach. `kind` is "lost", "released unreviewed", "double verdict" or ""."""

    invariant: str
    what: str
    ids: tuple[str, ...]
    kind: str = ""


class Evidence:
    """The history and the snapshot, indexed."""

    def __init__(self, history: History, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.acknowledged = [fact for _, fact in history.of(Acknowledged) if isinstance(fact, Acknowledged)]
        self.contents = [fact for _, fact in history.of(Content) if isinstance(fact, Content)]
        self.granted = [(at, fact) for at, fact in history.of(Granted) if isinstance(fact, Granted)]
        self.accepted = [(at, fact) for at, fact in history.of(Accepted) if isinstance(fact, Accepted)]
        self.probes = [fact for _, fact in history.of(Probed) if isinstance(fact, Probed)]
        self.missing = [fact for _, fact in history.of(Missing) if isinstance(fact, Missing)]
        self.interactions = {row["id"]: row for row in snapshot.interactions}
        self.decisions = grouped(snapshot.decisions, "interaction_id")
        self.items = {row["id"]: row for row in snapshot.items}
        self.items_of = grouped(snapshot.items, "interaction_id")
        self.verdicts = grouped(snapshot.verdicts, "item_id")
        self.events = grouped([row for row in snapshot.events if row["item_id"]], "item_id")
        self.events_of = grouped([row for row in snapshot.events if row["interaction_id"]], "interaction_id")


Check = Callable[[Evidence], Iterator[Violation]]


def grouped(rows: list[Row], column: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row[column]].append(row)
    return found
