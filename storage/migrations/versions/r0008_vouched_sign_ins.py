"""A MAC beside each sign-in and each link to one, so that a row that the program did not write signs nobody in."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = ("sign_ins", "signin_links")


def upgrade() -> None:
    for name in TABLES:  # rows of before stay without, and end with that: people sign in once more
        op.add_column(name, sa.Column("vouched", sa.Text(), nullable=True))


def downgrade() -> None:
    for name in TABLES:
        op.drop_column(name, "vouched")
