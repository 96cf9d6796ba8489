"""Looks through all stored decisions and verdicts for those that were not written here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from storage import vouching
from storage.database import Database
from storage.records import ItemState, Vouched
from storage.rows import Part, parts
from storage.tables import decisions, interactions, review_items, verdicts
from storage.vault import Vault, vault_of

_AT_ONCE = 500  # interactions of one page
_WHOLE = (interactions, decisions, review_items)
_ENDED_BY_VERDICT = frozenset({ItemState.APPROVED.value, ItemState.EDITED.value, ItemState.REJECTED.value})


@dataclass(frozen=True, slots=True)
class Checked:
    """What a look over all records found."""

    decisions: int  # vouched for
    verdicts: int  # vouched for, those that ended nothing included
    deleted: int  # interactions without content: nothing of them can leave
    bad: int  # interactions with something that is not vouched for
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


def check(database: Database) -> Checked:
    """Over every tenant's records. Raises DatabaseUnreachable."""
    decided = judged = deleted = bad = 0
    first: tuple[str, str] | None = None
    for conn, cases in _pages(database):
        vault = vault_of(conn)
        for case in cases:
            if case.interaction.deleted_at is not None:
                deleted += 1
                continue
            why = _matter(vault, case)
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
