"""Committed and sealed audit events, subjects, legal holds, idempotency, tiers, skills and second opinions."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TIERS = "tier IN ('base', 'pro', 'ultra')"


def upgrade() -> None:
    op.create_table(
        "audit_unsealed",
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name="pk_audit_unsealed"),
    )
    op.create_table(
        "audit_leaves",
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("leaf_index", name="pk_audit_leaves"),
        sa.UniqueConstraint("event_id", name="uq_audit_leaves_event_id"),
    )
    op.create_table(
        "audit_nodes",
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("level", "position", name="pk_audit_nodes"),
    )
    op.create_table(
        "audit_checkpoints",
        sa.Column("tree_size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tree_size", name="pk_audit_checkpoints"),
    )
    op.create_table(
        "subjects",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name_mac", sa.Text(), nullable=True),
        sa.Column("wrapped_key", sa.Text(), nullable=True),
        sa.Column("master_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("erased_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_subjects"),
        sa.UniqueConstraint("tenant", "name_mac", name="uq_subjects_tenant_name_mac"),
    )
    op.create_table(
        "legal_holds",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("placed_by", sa.Text(), nullable=False),
        sa.Column("placed_at", sa.Double(), nullable=False),
        sa.Column("lifted_by", sa.Text(), nullable=True),
        sa.Column("lifted_at", sa.Double(), nullable=True),
        sa.CheckConstraint("scope IN ('tenant', 'subject', 'interaction')", name=op.f("ck_legal_holds_scope_known")),
        sa.PrimaryKeyConstraint("id", name="pk_legal_holds"),
    )
    op.create_index("ix_legal_holds_tenant_lifted_at", "legal_holds", ["tenant", "lifted_at"])
    op.create_table(
        "idempotency",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("body_hash", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("lease_expires_at", sa.Double(), nullable=False),
        sa.Column("interaction_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", "name", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_expires_at", "idempotency", ["expires_at"])
    with op.batch_alter_table("audit_events") as table:
        for name in ("subject", "commitment", "salt", "sealed"):
            table.add_column(sa.Column(name, sa.Text(), nullable=True))
    with op.batch_alter_table("interactions") as table:
        table.add_column(sa.Column("subject", sa.Text(), nullable=True))
        table.add_column(sa.Column("body_hash", sa.Text(), nullable=True))
        table.add_column(sa.Column("retry_count", sa.Integer(), nullable=False, server_default="0"))
        table.create_index("ix_interactions_key_id_body_hash_created_at", ["key_id", "body_hash", "created_at"])
        table.create_index("ix_interactions_subject", ["subject"])
    with op.batch_alter_table("keys") as table:
        table.add_column(sa.Column("skills", sa.Text(), nullable=True))
    for name in ("policies", "review_items"):
        with op.batch_alter_table(name) as table:
            table.add_column(sa.Column("tier", sa.Text(), nullable=False, server_default="base"))
            table.add_column(sa.Column("four_eyes", sa.Boolean(), nullable=False, server_default=sa.false()))
            if name == "policies":
                table.create_check_constraint(op.f("ck_policies_tier_known"), TIERS)
    with op.batch_alter_table("verdicts") as table:
        table.drop_index("uq_verdicts_one_final")
        table.add_column(sa.Column("final", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.execute("UPDATE verdicts SET final = (kind <> 'refer')")
    with op.batch_alter_table("verdicts") as table:
        table.alter_column("final", server_default=None)
        table.create_check_constraint(op.f("ck_verdicts_referral_not_final"), "NOT (final AND kind = 'refer')")
        table.create_index(
            "uq_verdicts_one_final",
            ["item_id"],
            unique=True,
            sqlite_where=sa.text("final"),
            postgresql_where=sa.text("final"),
        )


def downgrade() -> None:
    with op.batch_alter_table("verdicts") as table:
        table.drop_index("uq_verdicts_one_final")
        table.drop_constraint(op.f("ck_verdicts_referral_not_final"), type_="check")
        table.drop_column("final")
        table.create_index(
            "uq_verdicts_one_final",
            ["item_id"],
            unique=True,
            sqlite_where=sa.text("kind <> 'refer'"),
            postgresql_where=sa.text("kind <> 'refer'"),
        )
    for name in ("policies", "review_items"):
        with op.batch_alter_table(name) as table:
            if name == "policies":
                table.drop_constraint(op.f("ck_policies_tier_known"), type_="check")
            table.drop_column("four_eyes")
            table.drop_column("tier")
    with op.batch_alter_table("keys") as table:
        table.drop_column("skills")
    with op.batch_alter_table("interactions") as table:
        table.drop_index("ix_interactions_subject")
        table.drop_index("ix_interactions_key_id_body_hash_created_at")
        for name in ("retry_count", "body_hash", "subject"):
            table.drop_column(name)
    with op.batch_alter_table("audit_events") as table:
        for name in ("sealed", "salt", "commitment", "subject"):
            table.drop_column(name)
    for name in (
        "idempotency",
        "legal_holds",
        "subjects",
        "audit_checkpoints",
        "audit_nodes",
        "audit_leaves",
        "audit_unsealed",
    ):
        op.drop_table(name)
