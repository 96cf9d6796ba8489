"""Knows what PostgreSQL is asked about the log's tables: in which schemas they stand, and what was put on them."""

from __future__ import annotations

# Within the transaction only, and whatever the database, the role or the address would have them be. Functions and
# operators are PostgreSQL's own: one of somebody else's that fits an argument better would be taken before them.
SESSION = (
    "SET LOCAL search_path = pg_catalog, pg_temp",  # unnamed, pg_temp would come first
    "SET LOCAL row_security = off",  # an error is better than a part of the log
    "SET LOCAL client_encoding = 'UTF8'",
    """SELECT set_config(name, '0', true) FROM pg_settings WHERE name IN
       ('statement_timeout', 'lock_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout')""",
)

# Schemas with a table, view or the like of one of these names; another session's temporary ones are for it alone.
SCHEMAS = """SELECT DISTINCT n.nspname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relname::text = ANY(?::text[]) AND c.relkind NOT IN ('i', 'I', 'S', 'c', 't')
        AND NOT pg_is_other_temp_schema(n.oid) ORDER BY 1"""

# The log's tables, their partitions and whatever else inherits from them; and what somebody put on them.
STRANGE = """WITH RECURSIVE ours AS (
        SELECT c.oid AS id FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
            WHERE n.nspname::text = ? AND c.relname::text = ANY(?::text[])
        UNION SELECT i.inhrelid FROM pg_inherits AS i JOIN ours ON i.inhparent = ours.id)
    SELECT 'trigger', tgname::text, tgrelid::regclass::text FROM pg_trigger JOIN ours ON tgrelid = id
        WHERE NOT tgisinternal
    UNION ALL SELECT 'rule', rulename::text, ev_class::regclass::text FROM pg_rewrite JOIN ours ON ev_class = id
        WHERE rulename <> '_RETURN'
    UNION ALL SELECT 'policy', polname::text, polrelid::regclass::text FROM pg_policy JOIN ours ON polrelid = id
        WHERE polname <> 'tenant' OR polroles <> ARRAY(SELECT oid FROM pg_roles WHERE rolname = 'countersign_tenant')
    UNION ALL SELECT 'view', relname::text, relname::text FROM pg_class JOIN ours ON pg_class.oid = id
        WHERE relkind NOT IN ('r', 'p')
    UNION ALL SELECT 'column of the type ' || format_type(atttypid, atttypmod), attname::text, attrelid::regclass::text
        FROM pg_attribute JOIN ours ON attrelid = id
        WHERE attnum > 0 AND NOT attisdropped
            AND atttypid <> ALL (ARRAY['text', 'float8', 'int4', 'int8']::regtype[])"""


def quoted(name: str) -> str:
    """A name as a query has it, letter by letter."""
    return '"' + name.replace('"', '""') + '"'
