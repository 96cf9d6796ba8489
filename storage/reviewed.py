"""Finds the answers that people have spoken the last word on: what a calibration can be fitted to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from storage.interactions import get_outcomes
from storage.labels import RULE, heaviest_of
from storage.records import Action, ItemState, Outcome
from storage.tables import decisions, interactions, policies, review_items, verdicts

_PAGE = 500  # interactions read together
_DECIDED = tuple(state.value for state in (ItemState.APPROVED, ItemState.EDITED, ItemState.REJECTED))


@dataclass(frozen=True, slots=True)
class Reviewed:
    """An answer with the last word on it, and how it came to be looked at."""

    outcome: Outcome
    weight: float  # 1/π of an answer drawn for audit, 1 of one that had to be reviewed; inf: released and never drawn
    heaviest: float | None  # weight of the others of its moment that were released; 1: none was; None: not known


def reviewed_models(conn: Connection) -> dict[str, int]:
    """How many reviewed answers there are of each model that served them, all tenants together."""
    served = interactions.c.served_model
    found = conn.execute(_decided(served, sa.func.count()).group_by(served).order_by(served))
    return {row[0]: row[1] for row in found}


def reviewed(conn: Connection, served_model: str) -> Iterator[Reviewed]:
    """Every answer of the model with a final verdict, all tenants together, in the order in which they were asked.

    Deleted and erased ones are left out. Whether the stored rows are as written is for the reader: `Outcome.vouched`.
    """
    columns = (interactions.c.tenant, interactions.c.id, policies.c.audit_share)
    order = (interactions.c.created_at, interactions.c.id)
    query = _decided(*columns).where(interactions.c.served_model == served_model).order_by(*order)
    found = [(row[0], row[1], row[2]) for row in conn.execute(query)]
    for start in range(0, len(found), _PAGE):
        page = found[start : start + _PAGE]
        outcomes: dict[str, Outcome] = {}
        for tenant in dict.fromkeys(tenant for tenant, *_ in page):
            outcomes |= get_outcomes(conn, [id_ for own, id_, _ in page if own == tenant], tenant)
        yield from (_weighed(outcomes[id_], share) for _, id_, share in page if id_ in outcomes)


def _weighed(outcome: Outcome, rule_share: float | None) -> Reviewed:
    decision = outcome.decision
    if decision.action is Action.RELEASE:
        weight = 1.0 / decision.audit_share if decision.audit_share else math.inf
        return Reviewed(outcome, weight, weight)
    return Reviewed(outcome, 1.0, heaviest_of(decision.reason, rule_share))


def _decided(*columns: sa.ColumnElement[Any] | sa.Function[Any]) -> sa.Select[Any]:
    """Of interactions with their content and a final verdict."""
    final = sa.and_(verdicts.c.item_id == review_items.c.id, verdicts.c.final)
    tables = interactions.join(decisions).join(review_items).join(verdicts, final).outerjoin(policies, RULE)
    there = (interactions.c.deleted_at.is_(None), review_items.c.state.in_(_DECIDED))
    query: sa.Select[Any] = sa.select(*columns)
    return query.select_from(tables).where(*there)
