"""The tables of human review: items, drafts and verdicts, and what of their rules the database itself holds."""

from __future__ import annotations

import sqlalchemy as sa

from storage.metadata import metadata, one_of
from storage.records import Action, ItemState, VerdictKind

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
    one_of("state", ItemState),
    one_of("action", Action),
    sa.UniqueConstraint("id", "four_eyes"),  # what verdicts refer to
    sa.CheckConstraint("claimed_by IS NULL OR claimed_by <> asked_by", name="not_own_request"),
    sa.CheckConstraint("claimed_by IS NULL OR referred_by IS NULL OR claimed_by <> referred_by", name="second_person"),
    sa.CheckConstraint("(state = 'claimed') = (claim_expires_at IS NOT NULL)", name="lease_while_claimed"),
    sa.Index(None, "tenant", "state", "urgency", "id"),
    sa.Index(None, "state", "urgency", "id"),
    sa.Index(None, "state", "expires_at"),
    sa.Index(None, "claimed_by", "state"),
    sa.Index(  # of released answers that were drawn for audit: the watch reads them in the order of their verdicts
        "ix_review_items_audited",
        "decided_at",
        "id",
        sqlite_where=sa.text("action = 'release'"),
        postgresql_where=sa.text("action = 'release'"),
    ),
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
    sa.Column("four_eyes", sa.Boolean, nullable=False, server_default=sa.false()),  # as its item's
    sa.Column("agrees_with", sa.Text),  # another person's verdict, on this item and for this very text
    sa.Column("agrees_with_reviewer", sa.Text),
    one_of("kind", VerdictKind),
    sa.CheckConstraint("(content_hash IS NOT NULL) = (kind IN ('approve', 'edit'))", name="releases_only_hashed"),
    sa.CheckConstraint("NOT (final AND kind = 'refer')", name="referral_not_final"),
    sa.UniqueConstraint("item_id", "reviewer_id"),  # one word a person: who referred an item cannot come back to it
    # Two people agree on a text before it leaves: the database itself refuses a last word that stands alone.
    sa.CheckConstraint(
        "NOT (final AND four_eyes AND kind IN ('approve', 'edit')) OR agrees_with IS NOT NULL", name="two_agree"
    ),
    sa.CheckConstraint("agrees_with_reviewer <> reviewer_id", name="agrees_with_another"),
    sa.CheckConstraint(  # a foreign key with a NULL in it is not looked at
        "(agrees_with IS NULL) = (agrees_with_reviewer IS NULL) AND (agrees_with IS NULL OR content_hash IS NOT NULL)",
        name="agreement_whole",
    ),
    sa.ForeignKeyConstraint(["item_id", "four_eyes"], ["review_items.id", "review_items.four_eyes"]),
    sa.UniqueConstraint("item_id", "id", "reviewer_id", "content_hash", name="uq_verdicts_agreed_with"),
    sa.ForeignKeyConstraint(
        ["item_id", "agrees_with", "agrees_with_reviewer", "content_hash"],
        ["verdicts.item_id", "verdicts.id", "verdicts.reviewer_id", "verdicts.content_hash"],
        name="fk_verdicts_agreement",
    ),
    sa.Index(
        "uq_verdicts_one_final",
        "item_id",
        unique=True,
        sqlite_where=sa.text("final"),
        postgresql_where=sa.text("final"),
    ),
    sa.Index(None, "tenant", "created_at"),
)
