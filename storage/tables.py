"""The SQL tables: the same on SQLite and PostgreSQL. All times are unix seconds in UTC as doubles."""

from __future__ import annotations

import sqlalchemy as sa

from storage.audit_tables import audit_events as audit_events
from storage.certified_tables import calibrations as calibrations
from storage.certified_tables import certificates as certificates
from storage.certified_tables import watch_points as watch_points
from storage.certified_tables import watches as watches
from storage.metadata import metadata as metadata
from storage.metadata import one_of
from storage.records import Action, Tier
from storage.review_tables import drafts as drafts
from storage.review_tables import review_items as review_items
from storage.review_tables import verdicts as verdicts

policies = sa.Table(
    "policies",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("threshold", sa.Double, nullable=False),
    sa.Column("below", sa.Text, nullable=False),
    sa.Column("review_seconds", sa.Double, nullable=False),
    sa.Column("tier", sa.Text, nullable=False, server_default="base"),
    sa.Column("four_eyes", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("without_certificate", sa.Text, nullable=False, server_default="hold"),
    sa.Column("audit_share", sa.Double, nullable=False, server_default=sa.text("0.04")),
    sa.Column("created_at", sa.Double, nullable=False),
    one_of("tier", Tier),
    sa.CheckConstraint("without_certificate IN ('hold', 'release')", name="without_certificate_known"),
    sa.CheckConstraint("audit_share >= 0 AND audit_share <= 1", name="audit_share_range"),
    sa.CheckConstraint("threshold >= 0 AND threshold <= 1", name="threshold_range"),
    one_of("below", Action),
    sa.Index(None, "tenant", "name"),
)

keys = sa.Table(
    "keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("secret_hash", sa.Text, nullable=False, unique=True),
    sa.Column("roles", sa.Text, nullable=False),  # sorted, separated by commas
    sa.Column("policy_id", sa.Text, nullable=False),  # the newest version applies
    sa.Column("skills", sa.Text),  # domains a reviewer may decide, as a JSON list; NULL: every domain
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double),
    sa.Column("revoked_at", sa.Double),
    sa.Index(None, "tenant", "name"),
)

# A person signed in through a link: another secret for the same key, so that the person stays the same person.
sign_ins = sa.Table(
    "sign_ins",
    metadata,
    sa.Column("secret_hash", sa.Text, primary_key=True),
    sa.Column("key_id", sa.Text, sa.ForeignKey("keys.id"), nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
    sa.Column("revoked_at", sa.Double),
    sa.Column("vouched", sa.Text),  # as in decisions; without it nobody is signed in: storage/sign_in_macs.py
    sa.Index(None, "key_id"),
)

signin_links = sa.Table(
    "signin_links",
    metadata,
    sa.Column("link_hash", sa.Text, primary_key=True),
    sa.Column("key_id", sa.Text, sa.ForeignKey("keys.id"), nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
    sa.Column("used_at", sa.Double),
    sa.Column("vouched", sa.Text),
)

interactions = sa.Table(
    "interactions",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("key_id", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("served_model", sa.Text, nullable=False),
    sa.Column("messages", sa.Text, nullable=False),  # JSON, as are the next two and metadata
    sa.Column("params", sa.Text, nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("content_hash", sa.Text, nullable=False),
    sa.Column("confidence", sa.Double),
    sa.Column("calibration_id", sa.Text),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("trace_id", sa.Text),
    sa.Column("traceparent", sa.Text),
    sa.Column("metadata", sa.Text, nullable=False),
    sa.Column("subject", sa.Text),  # whose question it was: subjects.id
    sa.Column("body_hash", sa.Text),  # of the request as sent: a client's retry is known by it
    sa.Column("retry_count", sa.Integer, nullable=False, server_default="0"),  # as the client counted
    sa.Column("deleted_at", sa.Double),  # the content is gone; the row remains for its decision and audit events
    sa.Index(None, "tenant", "created_at", "id"),
    sa.Index(None, "key_id", "body_hash", "created_at"),
    sa.Index(None, "subject"),
)

# Which words stand in questions and answers, where an operator opted in: storage/full_text.py.
words = sa.Table(
    "words",
    metadata,
    sa.Column("interaction_id", sa.Text, sa.ForeignKey("interactions.id"), primary_key=True),
    sa.Column("word", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Index(None, "tenant", "word", "interaction_id"),
)

# What an Idempotency-Key of one API key stands for: a request under way, then its interaction.
idempotency = sa.Table(
    "idempotency",
    metadata,
    sa.Column("key_id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),  # MAC of the header's value
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("body_hash", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),  # which attempt may record it
    sa.Column("lease_expires_at", sa.Double, nullable=False),
    sa.Column("interaction_id", sa.Text),  # once recorded
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
    sa.Index(None, "expires_at"),
    sa.Index(
        None,
        "interaction_id",
        sqlite_where=sa.text("interaction_id IS NOT NULL"),
        postgresql_where=sa.text("interaction_id IS NOT NULL"),
    ),
)

decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("interaction_id", sa.Text, sa.ForeignKey("interactions.id"), nullable=False, unique=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("confidence", sa.Double),
    sa.Column("threshold", sa.Double, nullable=False),
    sa.Column("calibration_id", sa.Text),
    sa.Column("policy_id", sa.Text, nullable=False),
    sa.Column("policy_version", sa.Integer, nullable=False),
    sa.Column("content_hash", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("vouched", sa.Text),  # master key's id and MAC over the row and its interaction: storage/vouching.py
    sa.Column("domain", sa.Text),  # of the answer, as the calibration saw it
    sa.Column("audit_share", sa.Double),  # probability of the draw for audit; NULL unless released
    sa.Column("certificate_id", sa.Text),  # whose threshold it was compared with
    one_of("action", Action),
    sa.CheckConstraint(
        "audit_share IS NULL OR (action = 'release' AND audit_share >= 0 AND audit_share <= 1)",
        name="audit_share_of_released",
    ),
    sa.CheckConstraint("action <> 'release' OR confidence IS NOT NULL", name="unknown_never_releases"),
    sa.Index(None, "tenant", "created_at"),
)

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("payload", sa.Text, nullable=False),  # JSON; ids only, no content
    sa.Column("created_at", sa.Double, nullable=False),
)

leaders = sa.Table(
    "leaders",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
)
