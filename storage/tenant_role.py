"""Makes the role that a tenant's transactions take on, or says what a database administrator must run."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from storage.errors import StorageError
from storage.tenancy import ROLE

# Roles belong to the whole cluster: another database's migration may make this one between our look and our CREATE.
_CREATE = f"""
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}') THEN
        CREATE ROLE {ROLE} NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$"""
_MAY_TAKE_IT_ON = f"""
SELECT CASE WHEN current_setting('server_version_num')::int >= 160000
            THEN pg_has_role(session_user, '{ROLE}', 'SET') ELSE pg_has_role(session_user, '{ROLE}', 'MEMBER') END"""
# Not inherited: it is taken on by a transaction that acts for a tenant, and by no other.
_GRANT = f"""
DO $$ BEGIN
    IF current_setting('server_version_num')::int >= 160000 THEN
        EXECUTE format('GRANT {ROLE} TO %I WITH INHERIT FALSE, SET TRUE', session_user);
    ELSE
        EXECUTE format('GRANT {ROLE} TO %I', session_user);
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$"""
_REFUSED = "42501"  # insufficient_privilege


class RoleNeeded(StorageError):
    """Only an administrator of the database may make the role, or make this user its member."""

    code = "role_needed"


def ensure_role(conn: Connection) -> None:
    """On PostgreSQL: the role exists and the user who is connected may take it on. Raises RoleNeeded."""
    try:
        conn.execute(sa.text(_CREATE))
        if not conn.execute(sa.text(_MAY_TAKE_IT_ON)).scalar_one():
            conn.execute(sa.text(_GRANT))
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _REFUSED:
            raise
        user = conn.engine.url.username or "the user of DATABASE_URL"
        raise RoleNeeded(
            f"The database user {user} may not create roles or grant {ROLE}, which keeps tenants apart: a database "
            f'administrator must run once: CREATE ROLE {ROLE} NOLOGIN; GRANT {ROLE} TO "{user}";'
        ) from error
