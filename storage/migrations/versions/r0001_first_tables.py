"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_events",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("interaction_id", sa.Text(), nullable=True),
        sa.Column("item_id", sa.Text(), nullable=True),
        sa.Column("trace_id", sa.Text(), nullable=True),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("reviewer", sa.Text(), nullable=True),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_events")),
    )
    with op.batch_alter_table("audit_events", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_audit_events_interaction_id"), ["interaction_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_audit_events_item_id"), ["item_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_audit_events_tenant_at_id"), ["tenant", "at", "id"], unique=False)
        batch_op.create_index(batch_op.f("ix_audit_events_tenant_key_id_at"), ["tenant", "key_id", "at"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_audit_events_tenant_kind_at_id"), ["tenant", "kind", "at", "id"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_audit_events_tenant_reviewer_at"), ["tenant", "reviewer", "at"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_audit_events_trace_id"), ["trace_id"], unique=False)

    op.create_table(
        "calibrations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calibrations")),
    )
    with op.batch_alter_table("calibrations", schema=None) as batch_op:
        batch_op.create_index(
            "uq_calibrations_active_model",
            ["model"],
            unique=True,
            sqlite_where=sa.text("active"),
            postgresql_where=sa.text("active"),
        )

    op.create_table(
        "interactions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("served_model", sa.Text(), nullable=False),
        sa.Column("messages", sa.Text(), nullable=False),
        sa.Column("params", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("calibration_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("trace_id", sa.Text(), nullable=True),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("deleted_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_interactions")),
    )
    with op.batch_alter_table("interactions", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_interactions_tenant_created_at_id"), ["tenant", "created_at", "id"], unique=False
        )

    op.create_table(
        "keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.Text(), nullable=False),
        sa.Column("roles", sa.Text(), nullable=False),
        sa.Column("policy_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_keys")),
        sa.UniqueConstraint("secret_hash", name=op.f("uq_keys_secret_hash")),
    )
    with op.batch_alter_table("keys", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_keys_tenant_name"), ["tenant", "name"], unique=False)

    op.create_table(
        "leaders",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leaders")),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_table(
        "policies",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("below", sa.Text(), nullable=False),
        sa.Column("review_seconds", sa.Double(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.CheckConstraint("below IN ('release', 'flag', 'hold', 'escalate')", name=op.f("ck_policies_below_known")),
        sa.CheckConstraint("threshold >= 0 AND threshold <= 1", name=op.f("ck_policies_threshold_range")),
        sa.PrimaryKeyConstraint("id", "version", name=op.f("pk_policies")),
    )
    with op.batch_alter_table("policies", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_policies_tenant_name"), ["tenant", "name"], unique=False)

    op.create_table(
        "decisions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("interaction_id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("calibration_id", sa.Text(), nullable=True),
        sa.Column("policy_id", sa.Text(), nullable=False),
        sa.Column("policy_version", sa.Integer(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.CheckConstraint(
            "action <> 'release' OR confidence IS NOT NULL", name=op.f("ck_decisions_unknown_never_releases")
        ),
        sa.CheckConstraint("action IN ('release', 'flag', 'hold', 'escalate')", name=op.f("ck_decisions_action_known")),
        sa.ForeignKeyConstraint(["interaction_id"], ["interactions.id"], name=op.f("fk_decisions_interaction_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decisions")),
        sa.UniqueConstraint("interaction_id", name=op.f("uq_decisions_interaction_id")),
    )
    with op.batch_alter_table("decisions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_decisions_tenant_created_at"), ["tenant", "created_at"], unique=False)

    op.create_table(
        "review_items",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("interaction_id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("trace_id", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("urgency", sa.Double(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("fencing_token", sa.Integer(), nullable=False),
        sa.Column("claimed_by", sa.Text(), nullable=True),
        sa.Column("claim_expires_at", sa.Double(), nullable=True),
        sa.Column("claims", sa.Integer(), nullable=False),
        sa.Column("lapses", sa.Integer(), nullable=False),
        sa.Column("referred_by", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.Double(), nullable=True),
        sa.CheckConstraint(
            "(state = 'claimed') = (claim_expires_at IS NOT NULL)", name=op.f("ck_review_items_lease_while_claimed")
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'claimed', 'approved', 'edited', 'rejected', 'referred', 'expired', "
            "'quarantined', 'withdrawn')",
            name=op.f("ck_review_items_state_known"),
        ),
        sa.CheckConstraint(
            "claimed_by IS NULL OR claimed_by <> asked_by", name=op.f("ck_review_items_not_own_request")
        ),
        sa.CheckConstraint(
            "claimed_by IS NULL OR referred_by IS NULL OR claimed_by <> referred_by",
            name=op.f("ck_review_items_second_person"),
        ),
        sa.ForeignKeyConstraint(["interaction_id"], ["interactions.id"], name=op.f("fk_review_items_interaction_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review_items")),
        sa.UniqueConstraint("interaction_id", name=op.f("uq_review_items_interaction_id")),
    )
    with op.batch_alter_table("review_items", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_review_items_claimed_by_state"), ["claimed_by", "state"], unique=False)
        batch_op.create_index(batch_op.f("ix_review_items_state_expires_at"), ["state", "expires_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_review_items_state_urgency_id"), ["state", "urgency", "id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_review_items_tenant_state_urgency_id"), ["tenant", "state", "urgency", "id"], unique=False
        )

    op.create_table(
        "sign_ins",
        sa.Column("secret_hash", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name=op.f("fk_sign_ins_key_id")),
        sa.PrimaryKeyConstraint("secret_hash", name=op.f("pk_sign_ins")),
    )
    with op.batch_alter_table("sign_ins", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sign_ins_key_id"), ["key_id"], unique=False)

    op.create_table(
        "signin_links",
        sa.Column("link_hash", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("used_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name=op.f("fk_signin_links_key_id")),
        sa.PrimaryKeyConstraint("link_hash", name=op.f("pk_signin_links")),
    )
    op.create_table(
        "drafts",
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("reviewer_id", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("saved_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["review_items.id"], name=op.f("fk_drafts_item_id")),
        sa.PrimaryKeyConstraint("item_id", "reviewer_id", name=op.f("pk_drafts")),
    )
    op.create_table(
        "verdicts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("reviewer_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=True),
        sa.Column("content_hash", sa.Text(), nullable=True),
        sa.Column("fencing_token", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(content_hash IS NOT NULL) = (kind IN ('approve', 'edit'))", name=op.f("ck_verdicts_releases_only_hashed")
        ),
        sa.CheckConstraint("kind IN ('approve', 'edit', 'reject', 'refer')", name=op.f("ck_verdicts_kind_known")),
        sa.ForeignKeyConstraint(["item_id"], ["review_items.id"], name=op.f("fk_verdicts_item_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdicts")),
        sa.UniqueConstraint("item_id", "reviewer_id", name=op.f("uq_verdicts_item_id_reviewer_id")),
    )
    with op.batch_alter_table("verdicts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_verdicts_tenant_created_at"), ["tenant", "created_at"], unique=False)
        batch_op.create_index(
            "uq_verdicts_one_final",
            ["item_id"],
            unique=True,
            sqlite_where=sa.text("kind <> 'refer'"),
            postgresql_where=sa.text("kind <> 'refer'"),
        )


def downgrade() -> None:
    with op.batch_alter_table("verdicts", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_verdicts_one_final",
            sqlite_where=sa.text("kind <> 'refer'"),
            postgresql_where=sa.text("kind <> 'refer'"),
        )
        batch_op.drop_index(batch_op.f("ix_verdicts_tenant_created_at"))

    op.drop_table("verdicts")
    op.drop_table("drafts")
    op.drop_table("signin_links")
    with op.batch_alter_table("sign_ins", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_sign_ins_key_id"))

    op.drop_table("sign_ins")
    with op.batch_alter_table("review_items", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_review_items_tenant_state_urgency_id"))
        batch_op.drop_index(batch_op.f("ix_review_items_state_urgency_id"))
        batch_op.drop_index(batch_op.f("ix_review_items_state_expires_at"))
        batch_op.drop_index(batch_op.f("ix_review_items_claimed_by_state"))

    op.drop_table("review_items")
    with op.batch_alter_table("decisions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_decisions_tenant_created_at"))

    op.drop_table("decisions")
    with op.batch_alter_table("policies", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_policies_tenant_name"))

    op.drop_table("policies")
    op.drop_table("outbox")
    op.drop_table("leaders")
    with op.batch_alter_table("keys", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_keys_tenant_name"))

    op.drop_table("keys")
    with op.batch_alter_table("interactions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_interactions_tenant_created_at_id"))

    op.drop_table("interactions")
    with op.batch_alter_table("calibrations", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_calibrations_active_model", sqlite_where=sa.text("active"), postgresql_where=sa.text("active")
        )

    op.drop_table("calibrations")
    with op.batch_alter_table("audit_events", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_audit_events_trace_id"))
        batch_op.drop_index(batch_op.f("ix_audit_events_tenant_reviewer_at"))
        batch_op.drop_index(batch_op.f("ix_audit_events_tenant_kind_at_id"))
        batch_op.drop_index(batch_op.f("ix_audit_events_tenant_key_id_at"))
        batch_op.drop_index(batch_op.f("ix_audit_events_tenant_at_id"))
        batch_op.drop_index(batch_op.f("ix_audit_events_item_id"))
        batch_op.drop_index(batch_op.f("ix_audit_events_interaction_id"))

    op.drop_table("audit_events")
