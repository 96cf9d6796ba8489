"""The tables of what releases stand on: calibrations, certificates, and the watch over what they released."""

from __future__ import annotations

import sqlalchemy as sa

from storage.certified import CertificateState
from storage.metadata import metadata, one_of

calibrations = sa.Table(
    "calibrations",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),  # JSON
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Index(
        "uq_calibrations_active_model",
        "model",
        unique=True,
        sqlite_where=sa.text("active"),
        postgresql_where=sa.text("active"),
    ),
)

_STANDS = "state IN ('in_force', 'suspended')"
certificates = sa.Table(
    "certificates",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("calibration_id", sa.Text, sa.ForeignKey("calibrations.id"), nullable=False),
    sa.Column("body", sa.Text, nullable=False),  # JSON
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("suspended_at", sa.Double),
    one_of("state", CertificateState),
    sa.CheckConstraint("state <> 'suspended' OR suspended_at IS NOT NULL", name="suspended_when"),
    sa.Index(
        "uq_certificates_standing_model",
        "model",
        unique=True,
        sqlite_where=sa.text(_STANDS),
        postgresql_where=sa.text(_STANDS),
    ),
)

watches = sa.Table(
    "watches",
    metadata,
    sa.Column("certificate_id", sa.Text, sa.ForeignKey("certificates.id"), primary_key=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # JSON
    sa.Column("audited", sa.Integer, nullable=False),
    sa.Column("seen_at", sa.Double, nullable=False),
    sa.Column("alarmed_at", sa.Double),
)

# One row an audited answer: what was counted once is not counted again, whoever leads.
watch_points = sa.Table(
    "watch_points",
    metadata,
    sa.Column("certificate_id", sa.Text, sa.ForeignKey("certificates.id"), primary_key=True),
    sa.Column("interaction_id", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("wrong", sa.Boolean, nullable=False),
    sa.Column("wealth", sa.Double, nullable=False),
    sa.UniqueConstraint("certificate_id", "number"),
)
