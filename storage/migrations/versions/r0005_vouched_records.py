"""A MAC beside each decision and verdict, so that a row that the program did not write is known."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = ("decisions", "verdicts")


def upgrade() -> None:
    for name in TABLES:  # rows of before stay without: only `countersign audit vouch` has the key
        op.add_column(name, sa.Column("vouched", sa.Text(), nullable=True))


def downgrade() -> None:
    for name in TABLES:
        op.drop_column(name, "vouched")
