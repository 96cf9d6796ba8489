"""On PostgreSQL: audit events in partitions by month, and tenants kept apart by row-level security."""

from datetime import UTC, timedelta

import sqlalchemy as sa
from alembic import op

from storage.tenant_role import ensure_role

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ROLE = "countersign_tenant"
# What a tenant's transaction may do with the rows of its tenant; everything else is the system's own doing.
GRANTS = {
    "policies": "SELECT, INSERT",
    "keys": "SELECT, INSERT, UPDATE (name, roles, policy_id, skills, expires_at, revoked_at)",
    "interactions": "SELECT, INSERT, UPDATE",
    "idempotency": "SELECT, INSERT, UPDATE, DELETE",
    "decisions": "SELECT, INSERT",
    "review_items": "SELECT, INSERT, UPDATE",
    "drafts": "SELECT, INSERT, UPDATE, DELETE",
    "verdicts": "SELECT, INSERT, UPDATE (content, reason, content_hash)",
    "audit_events": "SELECT, INSERT",
    "subjects": "SELECT, INSERT, UPDATE (created_at)",  # a row is locked only by who may update one of its columns
    "legal_holds": "SELECT, INSERT, UPDATE (lifted_by, lifted_at)",
    "outbox": "SELECT (id), INSERT",  # the id is returned to whoever inserts
    # Of no tenant: hashes, signed notes and calibrations, which every tenant's proofs and answers stand upon.
    "audit_unsealed": "INSERT",
    "audit_leaves": "SELECT",
    "audit_nodes": "SELECT",
    "audit_checkpoints": "SELECT",
    "calibrations": "SELECT",
}
NOW_ACTING = "current_setting('countersign.tenant', true)"  # NULL or empty while no tenant is set: no row fits
MINE = f"tenant = {NOW_ACTING}"
MY_INTERACTION = "EXISTS (SELECT FROM interactions i WHERE i.id = interaction_id)"  # its own rule holds in here too
MY_ITEM = "EXISTS (SELECT FROM review_items r WHERE r.id = item_id)"
MY_KEY = "EXISTS (SELECT FROM keys k WHERE k.id = key_id)"
OF_MY_TENANT = f"(payload::jsonb ->> 'tenant') = {NOW_ACTING}"
# table: which rows are seen and changed, and what must hold for those that are written
RULES = {
    "policies": (MINE, MINE),
    "keys": (MINE, MINE),
    "interactions": (MINE, MINE),
    "idempotency": (MINE, MINE),
    "decisions": (MINE, f"{MINE} AND {MY_INTERACTION}"),
    "review_items": (MINE, f"{MINE} AND {MY_INTERACTION}"),
    "drafts": (MY_ITEM, MY_ITEM),
    "verdicts": (MINE, f"{MINE} AND {MY_ITEM}"),
    "sign_ins": (MY_KEY, MY_KEY),
    "signin_links": (MY_KEY, MY_KEY),
    "audit_events": (MINE, MINE),
    "subjects": (MINE, MINE),
    "legal_holds": (MINE, MINE),
    "outbox": (OF_MY_TENANT, OF_MY_TENANT),
}
ALIKE = "LIKE audit_events_whole INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS"
BRIN = "ix_audit_events_at_brin"  # a few pages a month: what a purge and the whole log's exports look for by time


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    indexes = [index for index in set_aside() if BRIN not in index]
    op.execute(f"CREATE TABLE audit_events ({ALIKE}) PARTITION BY RANGE (at)")
    op.execute("CREATE TABLE audit_events_default PARTITION OF audit_events DEFAULT")
    make_months()
    carry_over()
    op.execute("ALTER TABLE audit_events ADD CONSTRAINT pk_audit_events PRIMARY KEY (id, at)")
    for index in indexes:
        op.execute(index)
    op.execute(f"CREATE INDEX {BRIN} ON audit_events USING brin (at) WITH (pages_per_range = 32)")
    keep_tenants_apart()


def downgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    for table in RULES:
        op.execute(f"DROP POLICY tenant ON {table}")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    for table in GRANTS:
        op.execute(f"REVOKE ALL ON {table} FROM {ROLE}")
    op.execute(f"REVOKE ALL ON SEQUENCE outbox_id_seq FROM {ROLE}")  # the role stays: other databases may use it
    indexes = [index for index in set_aside() if BRIN not in index]
    op.execute(f"CREATE TABLE audit_events ({ALIKE})")
    carry_over()
    op.execute("ALTER TABLE audit_events ADD CONSTRAINT pk_audit_events PRIMARY KEY (id)")
    for index in indexes:
        op.execute(index)


def set_aside() -> list[str]:
    """Renames the table of audit events; returns what makes each of its indexes but the primary key's."""
    found = op.get_bind().exec_driver_sql(
        "SELECT pg_get_indexdef(indexrelid) FROM pg_index "
        "WHERE indrelid = 'audit_events'::regclass AND NOT indisprimary"
    )
    indexes = [row[0].replace(" ON ONLY ", " ON ", 1) for row in found]  # of a partitioned table it says ONLY
    op.execute("ALTER TABLE audit_events RENAME TO audit_events_whole")
    return indexes


def carry_over() -> None:
    """Into the new table, which computes its generated columns itself; then the old one's names are free again."""
    columns = op.get_bind().exec_driver_sql(
        "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute WHERE attrelid = 'audit_events'::regclass "
        "AND attnum > 0 AND NOT attisdropped AND attgenerated = ''"
    )
    names = columns.scalar_one()
    op.execute(f"INSERT INTO audit_events ({names}) SELECT {names} FROM audit_events_whole")  # noqa: S608  the table's own names
    op.execute("DROP TABLE audit_events_whole")


def make_months() -> None:
    """A partition for each month that has events; those to come are made by storage.partitions."""
    months = op.get_bind().execute(
        sa.text(
            "SELECT DISTINCT date_trunc('month', to_timestamp(at) AT TIME ZONE 'UTC') AS first FROM audit_events_whole "
            "WHERE at >= 0 AND at < 253370764800"  # until the year 9999; what else there is stays in the default
        )
    )
    for (first,) in months.all():
        since = first.replace(tzinfo=UTC)
        until = (since + timedelta(days=31)).replace(day=1)
        op.execute(
            f"CREATE TABLE audit_events_y{since:%Y}m{since:%m} PARTITION OF audit_events "
            f"FOR VALUES FROM ({since.timestamp()}) TO ({until.timestamp()})"
        )


def keep_tenants_apart() -> None:
    connection = op.get_bind()
    ensure_role(connection)
    schema, usable = connection.exec_driver_sql(
        f"SELECT current_schema(), has_schema_privilege('{ROLE}', current_schema(), 'USAGE')"
    ).one()
    if not usable:
        op.execute(f'GRANT USAGE ON SCHEMA "{schema}" TO {ROLE}')
    for table, grant in GRANTS.items():
        op.execute(f"GRANT {grant} ON {table} TO {ROLE}")
    op.execute(f"GRANT USAGE ON SEQUENCE outbox_id_seq TO {ROLE}")
    for table, (seen, written) in RULES.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY tenant ON {table} TO {ROLE} USING ({seen}) WITH CHECK ({written})")
