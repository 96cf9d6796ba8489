"""Counts what would otherwise wait unseen: items that no reviewer may decide, and items that should have ended."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from storage.database import now
from storage.persons import folded
from storage.records import OPEN_STATES, ItemState, Role
from storage.storable import from_json
from storage.subjects import ERASED_NAME
from storage.tables import keys, review_items, verdicts

_ERASED = folded(ERASED_NAME)
GRACE_SECONDS = 60.0  # an item open for longer than this past its deadline: nobody sweeps


def overdue(conn: Connection) -> int:
    """Items of all tenants that are open although their deadline passed more than GRACE_SECONDS ago."""
    late = (
        review_items.c.state.in_([state.value for state in OPEN_STATES]),
        review_items.c.expires_at < now(conn) - GRACE_SECONDS,
    )
    return int(conn.execute(sa.select(sa.func.count()).select_from(review_items).where(*late)).scalar_one())


@dataclass(frozen=True, slots=True)
class _Reviewer:
    """Somebody who may decide now."""

    person: str  # the key's name, folded
    skills: frozenset[str] | None


def without_reviewer(conn: Connection) -> dict[tuple[str, str | None], int]:
    """How many waiting items no present reviewer may decide, by (tenant, domain); empty when all is well.

    Present are keys with the role reviewer or admin that are neither revoked nor expired. Whoever asked, or already
    gave a word, does not count, with whichever key.
    """
    table, (reviewers, person_of) = review_items.c, _reviewers(conn)
    lonely: dict[tuple[str, str | None], int] = {}
    waits = table.state == ItemState.PENDING.value
    # without a word on it, only who asked matters: items are alike by tenant, domain and asker
    query = sa.select(table.tenant, table.domain, table.asked_by, sa.func.count()).where(waits, table.claims == 0)
    for tenant, domain, asker, count in conn.execute(query.group_by(table.tenant, table.domain, table.asked_by)):
        if not _able(reviewers.get(tenant, []), domain, person_of.get(asker, asker)):
            lonely[tenant, domain] = lonely.get((tenant, domain), 0) + count
    said: dict[str, set[str]] = {}
    looked_at = sa.select(table.id, table.tenant, table.domain, table.asked_by).where(waits, table.claims > 0)
    rows = conn.execute(looked_at).all()
    words = sa.select(verdicts.c.item_id, verdicts.c.reviewer_id).join(review_items, table.id == verdicts.c.item_id)
    for item_id, reviewer in conn.execute(words.where(waits)):
        said.setdefault(item_id, set()).add(person_of.get(reviewer, reviewer))
    for item_id, tenant, domain, asker in rows:
        if not _able(reviewers.get(tenant, []), domain, person_of.get(asker, asker), said.get(item_id, set())):
            lonely[tenant, domain] = lonely.get((tenant, domain), 0) + 1
    return lonely


def _able(reviewers: list[_Reviewer], domain: str | None, asker: str, spoke: Collection[str] = ()) -> bool:
    """Whether one of the reviewers may decide; what an erased person asked, nobody may."""
    return asker != _ERASED and any(
        each.person != asker
        and each.person not in spoke
        and (domain is None or each.skills is None or domain in each.skills)
        for each in reviewers
    )


def _reviewers(conn: Connection) -> tuple[dict[str, list[_Reviewer]], dict[str, str]]:
    """Who is present by tenant, and the person of every key there is."""
    at = now(conn)
    found: dict[str, list[_Reviewer]] = {}
    people: dict[str, str] = {}
    table = keys.c
    present = sa.and_(table.revoked_at.is_(None), sa.or_(table.expires_at.is_(None), table.expires_at > at))
    query = sa.select(table.id, table.tenant, table.name, table.roles, table.skills, present.label("present"))
    for row in conn.execute(query):
        people[row.id] = folded(row.name)
        if row.present and not {Role.REVIEWER.value, Role.ADMIN.value}.isdisjoint(row.roles.split(",")):
            skills = None if row.skills is None else frozenset(from_json(row.skills))
            found.setdefault(row.tenant, []).append(_Reviewer(people[row.id], skills))
    return found, people
