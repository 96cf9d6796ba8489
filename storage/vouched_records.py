"""Looks through all stored decisions and verdicts for those not written here, or of which the log tells otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy import Connection

from storage import log_ends, vouching
from storage.audit_tables import audit_events
from storage.database import Database
from storage.records import OPEN_STATES, ItemState, Vouched
from storage.rows import Part, parts
from storage.tables import decisions, interactions, review_items, verdicts
from storage.vault import Vault, vault_of

_AT_ONCE = 500  # interactions of one page
_WHOLE = (interactions, decisions, review_items)
_DELETED, _ERASED, _DECIDED = "interaction.deleted", "subject.erased", "decision"
_TOLD = (_DECIDED, _DELETED, log_ends.CREATED, *log_ends.ENDS)
_ENDED_BY_VERDICT = frozenset({ItemState.APPROVED.value, ItemState.EDITED.value, ItemState.REJECTED.value})


@dataclass(frozen=True, slots=True)
class Checked:
    """What a look over all records found."""

    decisions: int  # vouched for
    verdicts: int  # vouched for, those that ended nothing included
    deleted: int  # interactions without content: nothing of them can leave
    bad: int  # interactions with something that is not vouched for, or of which the log tells otherwise
    first_bad: str | None  # of these the first by id
    why: str | None  # what is the matter with it


@dataclass(frozen=True, slots=True)
class Case:
    """The rows of one interaction as they are stored."""

    interaction: Part
    decision: Part
    item: Part  # NULLs only where there is none
    words: tuple[Part, ...]

    @property
    def id(self) -> str:
        return str(self.interaction.id)


@dataclass(slots=True)
class _Told:
    """What the log tells of one interaction."""

    kinds: list[str] = field(default_factory=list)
    subjects: set[str] = field(default_factory=set)  # whose it was when it was decided

    @property
    def ends(self) -> list[str]:
        return [kind for kind in self.kinds if kind in log_ends.ENDS]


def check(database: Database) -> Checked:
    """Over every tenant's records. Raises DatabaseUnreachable."""
    decided = judged = deleted = bad = 0
    first: tuple[str, str] | None = None
    with database.read() as conn:
        erased = _erased(conn)
    for conn, cases in _pages(database):
        vault, told = vault_of(conn), _told(conn, [case.id for case in cases])
        for case in cases:
            if case.interaction.deleted_at is not None:
                deleted += 1
                continue
            why = _matter(vault, case) or _otherwise(case, told.get(case.id, _Told()), erased)
            if why is None:
                decided, judged = decided + 1, judged + len(case.words)
            else:
                bad, first = bad + 1, first or (case.id, why)
    return Checked(decided, judged, deleted, bad, *(first or (None, None)))


def _matter(vault: Vault | None, case: Case) -> str | None:
    """What is not as it was written; None: nothing."""
    found = vouching.decision_vouched(vault, case.interaction.columns, case.decision.columns, case.item.columns)
    if found is not Vouched.OURS:
        return f"its decision is {found.value}"
    for word in case.words:
        found = vouching.verdict_vouched(vault, word.columns, case.id)
        if found is not Vouched.OURS:
            return f"its verdict {word.id} is {found.value}"
    if case.item.state in _ENDED_BY_VERDICT and not any(word.final for word in case.words):
        return f"it is {case.item.state}, and there is no verdict"
    return None


def _otherwise(case: Case, told: _Told, erased: frozenset[str]) -> str | None:
    """What the log tells otherwise than the rows; None: nothing. Events that were purged tell nothing."""
    if _DELETED in told.kinds:
        return f"the log tells {_DELETED} of it, and its content is there"
    if not told.subjects.isdisjoint(erased):
        return f"the log tells {_ERASED} of whose question it is, and its content is there"
    if len(told.ends) > 1:
        return f"its review ended more than once: the log tells {' and '.join(sorted(told.ends))}"
    if told.ends and case.item.state != log_ends.ENDS[told.ends[0]].value:
        return f"it is {case.item.state or 'without a review item'}, and the log tells {told.ends[0]} of it"
    if not told.ends and log_ends.CREATED in told.kinds and case.item.state not in OPEN_STATES:
        return f"it is {case.item.state or 'without a review item'}, and the log tells of no end of its review"
    return None


def _told(conn: Connection, interaction_ids: Sequence[str]) -> dict[str, _Told]:
    table = audit_events.c
    query = sa.select(table.interaction_id, table.kind, table.subject)
    found: dict[str, _Told] = {}
    for row in conn.execute(query.where(table.interaction_id.in_(interaction_ids), table.kind.in_(_TOLD))):
        told = found.setdefault(row.interaction_id, _Told())
        told.kinds.append(row.kind)
        if row.kind == _DECIDED and row.subject is not None:
            told.subjects.add(row.subject)
    return found


def _erased(conn: Connection) -> frozenset[str]:
    """Subjects that were erased; what is asked under the same name afterwards is another subject's."""
    table = audit_events.c
    return frozenset(conn.execute(sa.select(table.subject).where(table.kind == _ERASED)).scalars())


def _pages(database: Database) -> Iterator[tuple[Connection, list[Case]]]:
    """Each page in a transaction of its own: no snapshot stays open for as long as all of it takes."""
    after = ""
    while True:
        with database.read() as conn:
            cases = _page(conn, after)
            yield conn, cases
        if not cases:
            return
        after = cases[-1].id


def all_cases(conn: Connection) -> Iterator[list[Case]]:
    """Every tenant's, a page at a time."""
    after = ""
    while cases := _page(conn, after):
        yield cases
        after = cases[-1].id


def _page(conn: Connection, after: str) -> list[Case]:
    tables = interactions.outerjoin(decisions).outerjoin(
        review_items, review_items.c.interaction_id == interactions.c.id
    )
    query = sa.select(*_WHOLE).select_from(tables).where(interactions.c.id > after)
    rows = [parts(row, _WHOLE) for row in conn.execute(query.order_by(interactions.c.id).limit(_AT_ONCE))]
    said: dict[str, list[Part]] = {}
    of_these = verdicts.c.item_id.in_([item.id for _, _, item in rows if item.id is not None])
    for row in conn.execute(sa.select(verdicts).where(of_these).order_by(verdicts.c.fencing_token)):
        said.setdefault(row.item_id, []).append(parts(row, (verdicts,))[0])
    return [Case(asked, decided, item, tuple(said.get(item.id, ()))) for asked, decided, item in rows]
