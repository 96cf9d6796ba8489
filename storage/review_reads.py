"""Finds review items: one, a page in order of urgency, those that wait."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from storage.errors import NotSkilled, OwnRequest, ReferredBySelf
from storage.paging import decode_cursor, encode_cursor
from storage.records import OPEN_STATES, ItemState, Key, ReviewItem
from storage.review_guards import ASKER, SPEAKERS, asked, is_person, keys_that_may_be
from storage.rows import item_from
from storage.tables import review_items, verdicts

_PAGE = 1_000  # ids in one query


class Waiting(NamedTuple):
    """What the queue needs to know about an item that waits."""

    item_id: str
    tenant: str
    urgency: float


# Made once: making a statement anew takes about as long as running it.
_ONE = sa.select(review_items).where(
    review_items.c.id == sa.bindparam("item"), review_items.c.tenant == sa.bindparam("tenant")
)


def get_item(conn: Connection, item_id: str, tenant: str) -> ReviewItem | None:
    """None when there is none, or it is another tenant's."""
    row = conn.execute(_ONE, {"item": item_id, "tenant": tenant}).one_or_none()
    return None if row is None else item_from(row)


def get_items(
    conn: Connection, item_ids: Sequence[str], tenant: str, *, for_reviewer: Key | None = None
) -> list[ReviewItem]:
    """In the order of `item_ids`; ids that the tenant does not have are left out.

    `for_reviewer`: also those that wait, but not for this reviewer, as `barred` tells.
    """
    query = _by_ids(item_ids)
    if for_reviewer is not None:
        query = _for_reviewer(query, for_reviewer, keys_that_may_be(conn, for_reviewer))
    found = {row.id: item_from(row) for row in conn.execute(query) if row.tenant == tenant}
    return [found[item_id] for item_id in item_ids if item_id in found]


def hints(conn: Connection, item_ids: Sequence[str], reviewer: Key) -> list[sa.Row[Any]]:
    """id, state, domain and expires_at of those items that are the tenant's, in the order of `item_ids`.

    Left out: what waits, but not for this reviewer; still there: what they spoke of under another key.
    """
    given = {"items": list(item_ids), "reviewer": reviewer.id, "skills": sorted(reviewer.skills or ())}
    given["askers"] = [reviewer.id]  # their other keys are told by the asker's name: all names are not read for a claim
    rows = conn.execute(_hints(reviewer.skills is None), given)
    found: dict[str, Any] = {}
    for row in rows:
        if row.tenant == reviewer.tenant and not (row.state == ItemState.PENDING.value and asked(row, reviewer)):
            found[row.id] = row
    return [found[item_id] for item_id in item_ids if item_id in found]


def list_items(
    conn: Connection,
    tenant: str,
    *,
    states: Iterable[ItemState] = (ItemState.PENDING, ItemState.CLAIMED),
    after: str | None = None,
    limit: int = 50,
    for_reviewer: Key | None = None,
    domain: str | None = None,
) -> list[ReviewItem]:
    """Most urgent first; `after` is `cursor_of` the last item of the page before. Raises InvalidValue for a bad one.

    `for_reviewer` leaves out those that wait, but not for this reviewer, as `barred` tells; `domain` all others.
    """
    table, place = review_items.c, None if after is None else decode_cursor(after)
    askers = set[str]() if for_reviewer is None else keys_that_may_be(conn, for_reviewer)
    pages = []
    for state in dict.fromkeys(states):  # apart, each in its index's order; of several states together all are sorted
        query = sa.select(review_items).where(table.tenant == tenant, table.state == state.value)
        if place is not None:
            query = query.where(sa.tuple_(table.urgency, table.id) > place)
        if domain is not None:
            query = query.where(table.domain == domain)
        if for_reviewer is not None:
            query = _for_reviewer(query, for_reviewer, askers)
        pages.append([item_from(row) for row in conn.execute(query.order_by(table.urgency, table.id).limit(limit))])
    return list(islice(merge(*pages, key=attrgetter("urgency", "id")), limit))


def cursor_of(item: ReviewItem) -> str:
    return encode_cursor(item.urgency, item.id)


def waiting_ids(conn: Connection, limit: int, after: Waiting | None = None) -> list[Waiting]:
    """A page of all tenants' waiting items, most urgent first: what the queue is rebuilt from."""
    table = review_items.c
    query = sa.select(table.id, table.tenant, table.urgency).where(table.state == ItemState.PENDING.value)
    if after is not None:
        query = query.where(sa.tuple_(table.urgency, table.id) > (after.urgency, after.item_id))
    return [Waiting(*row) for row in conn.execute(query.order_by(table.urgency, table.id).limit(limit))]


def waiting_among(conn: Connection, item_ids: Iterable[str]) -> dict[str, Waiting]:
    """Those of `item_ids` that wait for a reviewer now."""
    table = review_items.c
    query = sa.select(table.id, table.tenant, table.urgency, table.state).where(table.id.in_(list(item_ids)))
    rows = conn.execute(query)  # by id alone, as `_by_ids` says
    return {id_: Waiting(id_, tenant, at) for id_, tenant, at, state in rows if state == ItemState.PENDING.value}


def ended_among(conn: Connection, interaction_ids: Sequence[str]) -> set[str]:
    """Those of the interactions, whosever they are, that no reviewer's word is to come on."""
    table, found = review_items.c, set(interaction_ids)
    for at in range(0, len(interaction_ids), _PAGE):
        page = list(interaction_ids[at : at + _PAGE])
        rows = conn.execute(sa.select(table.interaction_id, table.state).where(table.interaction_id.in_(page)))
        found -= {interaction_id for interaction_id, state in rows if state in OPEN_STATES}
    return found


def counts(conn: Connection, tenant: str | None) -> dict[str, int]:
    """How many items are in each state, every state named; None counts all tenants, for operators."""
    query = sa.select(review_items.c.state, sa.func.count())
    if tenant is not None:
        query = query.where(review_items.c.tenant == tenant)
    found: dict[str, int] = {row[0]: row[1] for row in conn.execute(query.group_by(review_items.c.state))}
    return {state.value: found.get(state.value, 0) for state in ItemState}


def oldest_waiting(conn: Connection, tenant: str | None) -> float | None:
    """When the item that waits longest was created (unix seconds); None of the tenant: of all, for operators."""
    query = sa.select(sa.func.min(review_items.c.created_at)).where(review_items.c.state == ItemState.PENDING.value)
    if tenant is not None:
        query = query.where(review_items.c.tenant == tenant)
    return conn.execute(query).scalar()


def barred(conn: Connection, items: Sequence[ReviewItem], reviewer: Key) -> dict[str, str]:
    """Why some of the items that wait do not wait for this reviewer: item id → the code of a claim's refusal."""
    pending = [item for item in items if item.state is ItemState.PENDING]
    if not pending:
        return {}
    ids = [item.id for item in pending]
    own = conn.execute(sa.select(review_items.c.id, review_items.c.asked_by, ASKER).where(review_items.c.id.in_(ids)))
    said = conn.execute(SPEAKERS.where(verdicts.c.item_id.in_(ids)))
    foreign = (item.id for item in pending if not _skilled(reviewer, item.domain))
    return {
        **dict.fromkeys(
            (row.item_id for row in said if is_person(reviewer, row.reviewer_id, row.name)), ReferredBySelf.code
        ),
        **dict.fromkeys(foreign, NotSkilled.code),
        **dict.fromkeys((row.id for row in own if asked(row, reviewer)), OwnRequest.code),
    }


def _skilled(reviewer: Key, domain: str | None) -> bool:
    return reviewer.skills is None or domain is None or domain in reviewer.skills


@functools.cache
def _hints(every_domain: bool) -> sa.Select[Any]:
    """Made once: making it took longer than all else of a claim."""
    table = review_items.c
    query = sa.select(table.id, table.tenant, table.state, table.domain, table.expires_at, table.asked_by, ASKER)
    query = query.where(table.id.in_(sa.bindparam("items", expanding=True)))
    skills: sa.BindParameter[Any] | None = None if every_domain else sa.bindparam("skills", expanding=True)
    return _for(query, sa.bindparam("reviewer"), sa.bindparam("askers", expanding=True), skills)


def _for_reviewer(query: sa.Select[Any], reviewer: Key, askers: set[str]) -> sa.Select[Any]:
    """Without what waits, but not for this reviewer; `askers`: their keys."""
    return _for(query, reviewer.id, sorted(askers), None if reviewer.skills is None else sorted(reviewer.skills))


def _for(
    query: sa.Select[Any],
    reviewer_id: str | sa.BindParameter[Any],
    askers: Sequence[str] | sa.BindParameter[Any],
    skills: Sequence[str] | sa.BindParameter[Any] | None,
) -> sa.Select[Any]:
    table = review_items.c
    # joined, at most one row an item: of `NOT EXISTS` within `OR` PostgreSQL may read all verdicts there are
    mine = sa.and_(verdicts.c.item_id == table.id, verdicts.c.reviewer_id == reviewer_id)
    theirs: list[sa.ColumnElement[bool]] = [table.asked_by.not_in(askers), verdicts.c.id.is_(None)]
    if skills is not None:
        theirs.append(sa.or_(table.domain.is_(None), table.domain.in_(skills)))
    return query.outerjoin(verdicts, mine).where(sa.or_(table.state != ItemState.PENDING.value, sa.and_(*theirs)))


def _by_ids(item_ids: Sequence[str]) -> sa.Select[Any]:
    # By id alone, the rest is sorted out in Python: given tenant or state as well, both databases prefer the index over
    # those and read every waiting item (measured: 6 s instead of 0.9 s for 100,000).
    return sa.select(review_items).where(review_items.c.id.in_(item_ids))
