"""An index of audit events for every filter of the log, newest first, and only for the rows that have the mark."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

MARKS = ("key_id", "model", "action", "reason", "reviewer", "verdict")
IDS = ("interaction_id", "item_id", "trace_id")
BEFORE = {  # those that are replaced: name, columns
    "ix_audit_events_tenant_kind_at_id": ["tenant", "kind", "at", "id"],
    "ix_audit_events_tenant_key_id_at": ["tenant", "key_id", "at"],
    "ix_audit_events_tenant_reviewer_at": ["tenant", "reviewer", "at"],
    "ix_audit_events_interaction_id": ["interaction_id"],
    "ix_audit_events_item_id": ["item_id"],
    "ix_audit_events_trace_id": ["trace_id"],
}
AFTER = {  # name: columns, and the mark that a row must have to be in it
    "ix_audit_events_tenant_kind_at": (["tenant", "kind", "at"], None),
    **{f"ix_audit_events_tenant_{mark}_at": (["tenant", mark, "at"], mark) for mark in MARKS},
    **{f"ix_audit_events_{name}_at": ([name, "at"], name) for name in IDS},
    "ix_audit_events_tenant_at_id_confidence": (["tenant", "at", "id", "confidence"], "confidence"),
    "ix_audit_events_tenant_confidence_at": (["tenant", "confidence", "at"], "confidence"),
}


def upgrade() -> None:
    for name in BEFORE:
        op.drop_index(name, "audit_events")
    for name, (columns, present) in AFTER.items():
        where = None if present is None else sa.text(f"{present} IS NOT NULL")
        op.create_index(name, "audit_events", columns, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    for name in AFTER:
        op.drop_index(name, "audit_events")
    for name, columns in BEFORE.items():
        op.create_index(name, "audit_events", columns)
