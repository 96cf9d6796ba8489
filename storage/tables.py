"""The SQL tables: the same on SQLite and PostgreSQL. All times are unix seconds in UTC as doubles."""

from __future__ import annotations

import sqlalchemy as sa

from storage.audit_tables import audit_events as audit_events
from storage.metadata import metadata as metadata
from storage.records import Action, ItemState, Tier, VerdictKind


def _one_of(column: str, values: type[Action] | type[ItemState] | type[Tier] | type[VerdictKind]) -> sa.CheckConstraint:
    listed = ", ".join(f"'{value.value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


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
    sa.Column("created_at", sa.Double, nullable=False),
    _one_of("tier", Tier),
    sa.CheckConstraint("threshold >= 0 AND threshold <= 1", name="threshold_range"),
    _one_of("below", Action),
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
    _one_of("action", Action),
    sa.CheckConstraint("action <> 'release' OR confidence IS NOT NULL", name="unknown_never_releases"),
    sa.Index(None, "tenant", "created_at"),
)

review_items = sa.Table(
    "review_items",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("interaction_id", sa.Text, sa.ForeignKey("interactions.id"), nullable=False, unique=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("asked_by", sa.Text, nullable=False),  # key id of the caller; may not review its own request
    sa.Column("trace_id", sa.Text),  # of the request, so that one trace id finds the whole story
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("urgency", sa.Double, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("domain", sa.Text),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
    sa.Column("fencing_token", sa.Integer, nullable=False),
    sa.Column("claimed_by", sa.Text),  # while claimed; afterwards who decided
    sa.Column("claim_expires_at", sa.Double),
    sa.Column("claims", sa.Integer, nullable=False),
    sa.Column("lapses", sa.Integer, nullable=False),  # claims that ran out without a word
    sa.Column("referred_by", sa.Text),
    sa.Column("decided_at", sa.Double),
    sa.Column("tier", sa.Text, nullable=False, server_default="base"),
    sa.Column("four_eyes", sa.Boolean, nullable=False, server_default=sa.false()),  # two people must agree to release
    _one_of("state", ItemState),
    sa.CheckConstraint("claimed_by IS NULL OR claimed_by <> asked_by", name="not_own_request"),
    sa.CheckConstraint("claimed_by IS NULL OR referred_by IS NULL OR claimed_by <> referred_by", name="second_person"),
    sa.CheckConstraint("(state = 'claimed') = (claim_expires_at IS NOT NULL)", name="lease_while_claimed"),
    sa.Index(None, "tenant", "state", "urgency", "id"),
    sa.Index(None, "state", "urgency", "id"),
    sa.Index(None, "state", "expires_at"),
    sa.Index(None, "claimed_by", "state"),
)

drafts = sa.Table(
    "drafts",
    metadata,
    sa.Column("item_id", sa.Text, sa.ForeignKey("review_items.id"), primary_key=True),
    sa.Column("reviewer_id", sa.Text, primary_key=True),  # a second pair of eyes does not see the first one's draft
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("saved_at", sa.Double, nullable=False),
)

verdicts = sa.Table(
    "verdicts",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("item_id", sa.Text, sa.ForeignKey("review_items.id"), nullable=False),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("reviewer_id", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("content", sa.Text),
    sa.Column("content_hash", sa.Text),
    sa.Column("fencing_token", sa.Integer, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("traceparent", sa.Text),
    sa.Column("final", sa.Boolean, nullable=False),  # false: a referral, or the first of two who must agree
    sa.Column("vouched", sa.Text),  # as in decisions
    _one_of("kind", VerdictKind),
    sa.CheckConstraint("(content_hash IS NOT NULL) = (kind IN ('approve', 'edit'))", name="releases_only_hashed"),
    sa.CheckConstraint("NOT (final AND kind = 'refer')", name="referral_not_final"),
    sa.UniqueConstraint("item_id", "reviewer_id"),  # one word a person: who referred an item cannot come back to it
    sa.Index(
        "uq_verdicts_one_final",
        "item_id",
        unique=True,
        sqlite_where=sa.text("final"),
        postgresql_where=sa.text("final"),
    ),
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
