"""Knows which rows a tenant's transactions meet on PostgreSQL, and finds where somebody changed that."""

from __future__ import annotations

import re

import sqlalchemy as sa
from sqlalchemy import Connection

from storage.errors import StorageError
from storage.tenancy import ROLE

_NOW_ACTING = "current_setting('countersign.tenant', true)"
_MINE = f"tenant = {_NOW_ACTING}"
_OF_MY_TENANT = f"(payload::jsonb ->> 'tenant') = {_NOW_ACTING}"


def _about_mine(table: str, other: str, named: str) -> str:
    return f"EXISTS (SELECT FROM {other} {other[0]} WHERE {other[0]}.id = {table}.{named})"


def _also(table: str, other: str, named: str) -> tuple[str, str]:
    return _MINE, f"{_MINE} AND {_about_mine(table, other, named)}"


def _only(table: str, other: str, named: str) -> tuple[str, str]:
    return (_about_mine(table, other, named),) * 2


# table: which rows are seen and changed, and what must hold for those that are written. Migrations 0003 and 0010
RULES = {
    **dict.fromkeys(
        ("policies", "keys", "interactions", "idempotency", "audit_events", "subjects", "legal_holds"), (_MINE, _MINE)
    ),
    "words": _also("words", "interactions", "interaction_id"),
    "decisions": _also("decisions", "interactions", "interaction_id"),
    "review_items": _also("review_items", "interactions", "interaction_id"),
    "verdicts": _also("verdicts", "review_items", "item_id"),
    "drafts": _only("drafts", "review_items", "item_id"),
    "sign_ins": _only("sign_ins", "keys", "key_id"),
    "signin_links": _only("signin_links", "keys", "key_id"),
    "outbox": (_OF_MY_TENANT, _OF_MY_TENANT),
}
_FOUND = sa.text(
    """SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, p.polpermissive AND p.polcmd = '*' AS for_all,
           pg_get_expr(p.polqual, c.oid) AS seen, pg_get_expr(p.polwithcheck, c.oid) AS written
       FROM unnest(CAST(:names AS text[])) AS name
       JOIN pg_class AS c ON c.oid = CAST(to_regclass(quote_ident(name)) AS oid)
       LEFT JOIN pg_policy AS p ON p.polrelid = c.oid AND p.polname = 'tenant'"""
)
# What PostgreSQL adds when it writes an expression out again, in one version so and in another otherwise.
_ADDED = re.compile(r"[\s()]|::\w+")


class TenantsNotApart(StorageError):
    """Row-level security is not as this program made it."""

    code = "tenants_not_apart"

    def __init__(self, table: str, what: str, mend: str) -> None:
        super().__init__(
            f"On {table} {what}: a tenant's key could be shown another tenant's rows, or none. "
            f"Find out who did it and why, then run: {mend}"
        )


def require_whole(conn: Connection, tables: list[str]) -> None:
    """Raises TenantsNotApart for the first of `tables` whose row-level security is another than the program's.

    That is whether it is on, who it binds and what the rule `tenant` says; not what the role was granted besides.
    """
    for row in conn.execute(_FOUND, {"names": tables}):
        table, rule = row.relname, RULES.get(row.relname)
        if row.relforcerowsecurity or row.relrowsecurity is not (rule is not None):
            mend = "ENABLE" if rule else "DISABLE"
            both = f"ALTER TABLE {table} {mend} ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY"
            raise TenantsNotApart(table, "row-level security was switched", both)
        if rule is not None and not (row.for_all and (_plain(row.seen), _plain(row.written)) == (*map(_plain, rule),)):
            made = f"CREATE POLICY tenant ON {table} TO {ROLE} USING ({rule[0]}) WITH CHECK ({rule[1]})"
            raise TenantsNotApart(
                table, "the rule for tenants was changed", f"DROP POLICY IF EXISTS tenant ON {table}; {made}"
            )


def _plain(expression: str | None) -> str:
    return _ADDED.sub("", expression or "")
