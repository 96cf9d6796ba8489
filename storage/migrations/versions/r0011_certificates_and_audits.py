"""Certificates, the watch over what they release, and what decisions and policies know of both."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

ROLE = "countersign_tenant"
STANDS = "state IN ('in_force', 'suspended')"
AUDITED = "action = 'release'"
CHECKS = {
    "decisions": {
        "audit_share_of_released": (
            "audit_share IS NULL OR (action = 'release' AND audit_share >= 0 AND audit_share <= 1)"
        ),
    },
    "policies": {
        "without_certificate_known": "without_certificate IN ('hold', 'release')",
        "audit_share_range": "audit_share >= 0 AND audit_share <= 1",
    },
}
OF_DECISIONS = ("domain", "audit_share", "certificate_id")
OF_POLICIES = ("without_certificate", "audit_share")


def upgrade() -> None:
    make_tables()
    with op.batch_alter_table("decisions") as table:
        table.add_column(sa.Column("domain", sa.Text(), nullable=True))
        table.add_column(sa.Column("audit_share", sa.Double(), nullable=True))
        table.add_column(sa.Column("certificate_id", sa.Text(), nullable=True))
    with op.batch_alter_table("policies") as table:
        table.add_column(sa.Column("without_certificate", sa.Text(), nullable=False, server_default="hold"))
        table.add_column(sa.Column("audit_share", sa.Double(), nullable=False, server_default=sa.text("0.04")))
    for name, checks in CHECKS.items():
        with op.batch_alter_table(name) as table:
            for check, rule in checks.items():
                table.create_check_constraint(op.f(f"ck_{name}_{check}"), rule)
    where = sa.text(AUDITED)
    op.create_index(
        "ix_review_items_audited", "review_items", ["decided_at", "id"], sqlite_where=where, postgresql_where=where
    )


def downgrade() -> None:
    op.drop_index("ix_review_items_audited", "review_items")
    # their MACs are over what goes: without one they are not vouched for yet, and `countersign audit vouch` can tell
    there = " OR ".join(f"{name} IS NOT NULL" for name in OF_DECISIONS)
    op.execute(f"UPDATE decisions SET vouched = NULL WHERE {there}")  # noqa: S608
    for name, columns in (("decisions", OF_DECISIONS), ("policies", OF_POLICIES)):
        with op.batch_alter_table(name) as table:
            for check in CHECKS[name]:
                table.drop_constraint(op.f(f"ck_{name}_{check}"), type_="check")
        with op.batch_alter_table(name) as table:
            for column in columns:
                table.drop_column(column)
    for name in ("watch_points", "watches", "certificates"):
        op.drop_table(name)


def make_tables() -> None:
    op.create_table(
        "certificates",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("calibration_id", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("suspended_at", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_certificates"),
        sa.ForeignKeyConstraint(["calibration_id"], ["calibrations.id"], name="fk_certificates_calibration_id"),
        sa.CheckConstraint(
            "state IN ('stored', 'in_force', 'suspended', 'superseded')", name=op.f("ck_certificates_state_known")
        ),
        sa.CheckConstraint(
            "state <> 'suspended' OR suspended_at IS NOT NULL", name=op.f("ck_certificates_suspended_when")
        ),
    )
    where = sa.text(STANDS)
    op.create_index(
        "uq_certificates_standing_model",
        "certificates",
        ["model"],
        unique=True,
        sqlite_where=where,
        postgresql_where=where,
    )
    op.create_table(
        "watches",
        sa.Column("certificate_id", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("audited", sa.Integer, nullable=False),
        sa.Column("seen_at", sa.Double, nullable=False),
        sa.Column("alarmed_at", sa.Double),
        sa.PrimaryKeyConstraint("certificate_id", name="pk_watches"),
        sa.ForeignKeyConstraint(["certificate_id"], ["certificates.id"], name="fk_watches_certificate_id"),
    )
    op.create_table(
        "watch_points",
        sa.Column("certificate_id", sa.Text, nullable=False),
        sa.Column("interaction_id", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("wrong", sa.Boolean, nullable=False),
        sa.Column("wealth", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("certificate_id", "interaction_id", name="pk_watch_points"),
        sa.ForeignKeyConstraint(["certificate_id"], ["certificates.id"], name="fk_watch_points_certificate_id"),
        sa.UniqueConstraint("certificate_id", "number", name="uq_watch_points_certificate_id_number"),
    )
    if op.get_bind().dialect.name == "postgresql":  # of no tenant, as calibrations are
        op.execute(f"GRANT SELECT ON certificates, watches, watch_points TO {ROLE}")
