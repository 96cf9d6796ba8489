"""Finds what somebody put on the program's tables that can keep rows from being written or read."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from storage import row_security
from storage.schema_errors import TablesObstructed
from storage.tables import metadata

# On SQLite the whole file is ours. A trigger of any table can reach any other one.
_IN_SQLITE = """SELECT type, name, tbl_name FROM sqlite_master WHERE type = 'trigger'
                UNION ALL SELECT type, name, name FROM sqlite_master WHERE type = 'view'"""
# The tables, their partitions and whatever else inherits from them.
_OURS = """WITH RECURSIVE ours AS (
        SELECT CAST(to_regclass(quote_ident(name)) AS oid) AS id FROM unnest(CAST(:names AS text[])) AS name
        UNION SELECT i.inhrelid FROM pg_inherits AS i JOIN ours ON i.inhparent = ours.id
    )"""
_ROLE = "ARRAY(SELECT oid FROM pg_roles WHERE rolname = 'countersign_tenant')"
_IN_POSTGRESQL = f"""{_OURS}
    SELECT 'trigger', CAST(tgname AS text), CAST(CAST(tgrelid AS regclass) AS text)
        FROM pg_trigger JOIN ours ON tgrelid = id WHERE NOT tgisinternal
    UNION ALL SELECT 'rule', CAST(rulename AS text), CAST(CAST(ev_class AS regclass) AS text)
        FROM pg_rewrite JOIN ours ON ev_class = id WHERE rulename <> '_RETURN'
    UNION ALL SELECT 'policy', CAST(polname AS text), CAST(CAST(polrelid AS regclass) AS text)
        FROM pg_policy JOIN ours ON polrelid = id WHERE polname <> 'tenant' OR polroles <> {_ROLE}
    UNION ALL SELECT 'view', CAST(relname AS text), CAST(relname AS text)
        FROM pg_class JOIN ours ON pg_class.oid = id WHERE relkind NOT IN ('r', 'p')"""  # noqa: S608 - names are bound


def require_none(conn: Connection) -> None:
    """Raises TablesObstructed with the first trigger, rule, policy or view that is not ours, and TenantsNotApart where
    row-level security is not as it was made. Indexes and checks that somebody added are not looked for: what they
    refuse fails, and is told.
    """
    if conn.dialect.name == "postgresql":
        names = sorted(metadata.tables)
        found = conn.execute(sa.text(_IN_POSTGRESQL), {"names": names}).first()
        if found is None:
            row_security.require_whole(conn, names)
    else:
        ours = {name.lower() for name in metadata.tables}
        rows = conn.exec_driver_sql(_IN_SQLITE).all()
        found = next((row for row in rows if row[0] == "trigger" or row[2].lower() in ours), None)
    if found is not None:
        raise TablesObstructed(*found)
