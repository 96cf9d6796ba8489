"""Words of questions and answers, for operators who want the audit log to be found by them."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

ROLE = "countersign_tenant"
MINE = "tenant = current_setting('countersign.tenant', true)"
MY_INTERACTION = "EXISTS (SELECT FROM interactions i WHERE i.id = interaction_id)"


def upgrade() -> None:
    op.create_table(
        "words",
        sa.Column("interaction_id", sa.Text, nullable=False),
        sa.Column("word", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("interaction_id", "word", name="pk_words"),
        sa.ForeignKeyConstraint(["interaction_id"], ["interactions.id"], name="fk_words_interaction_id"),
    )
    op.create_index("ix_words_tenant_word_interaction_id", "words", ["tenant", "word", "interaction_id"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"GRANT SELECT, INSERT ON words TO {ROLE}")
        op.execute("ALTER TABLE words ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY tenant ON words TO {ROLE} USING ({MINE}) WITH CHECK ({MINE} AND {MY_INTERACTION})")


def downgrade() -> None:
    op.drop_table("words")
