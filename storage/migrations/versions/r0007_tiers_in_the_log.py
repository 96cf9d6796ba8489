"""Events and decisions say the tier of the policy, and events are found by it."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

INDEX = "ix_audit_events_tenant_tier_at"


def upgrade() -> None:
    op.add_column("decisions", sa.Column("tier", sa.Text, nullable=False, server_default="base"))
    op.add_column("audit_events", sa.Column("tier", sa.Text))
    where = sa.text("tier IS NOT NULL")
    op.create_index(INDEX, "audit_events", ["tenant", "tier", "at"], sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Events keep what they say of tiers in `data`: their hashes cover it."""
    op.drop_index(INDEX, "audit_events")
    op.drop_column("audit_events", "tier")
    op.drop_column("decisions", "tier")
