"""Committed and sealed audit events, subjects, legal holds, idempotency, tiers, skills and second opinions."""

import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

from storage.schema_errors import EventAltered

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

HASHED = ("id", "at", "tenant", "kind", "actor", "interaction_id", "item_id", "trace_id", "data")
HASHED_SINCE = (*HASHED, "subject", "commitment")
AT_ONCE = 5_000  # events
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
    hash_anew(old_hash, new_hash, wait_to_be_sealed=True)
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
    """What the first version cannot keep is lost: private facts, the tree, and words of two who must agree."""
    op.execute("DELETE FROM verdicts WHERE NOT final AND kind <> 'refer'")
    hash_anew(None, old_hash, wait_to_be_sealed=False)
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


def hash_anew(
    before: Callable[[sa.Row[Any]], str] | None, after: Callable[[sa.Row[Any]], str], *, wait_to_be_sealed: bool
) -> None:
    """Every event gets the other version's hash. Raises EventAltered for one that does not have that of `before`."""
    connection = op.get_bind()
    update = sa.text("UPDATE audit_events SET hash = :hash WHERE id = :id")
    wait = sa.text("INSERT INTO audit_unsealed (event_id, hash) VALUES (:id, :hash)")
    for rows in events():
        for row in rows:
            if before is not None and before(row) != row.hash:
                raise EventAltered(row.id)
        hashes = [{"id": row.id, "hash": after(row)} for row in rows]
        connection.execute(update, hashes)
        if wait_to_be_sealed:
            connection.execute(wait, hashes)


def events() -> Iterator[list[sa.Row[Any]]]:
    """Pages in the order in which they happened."""
    place: tuple[float, str] = (float("-inf"), "")
    later = sa.text("SELECT * FROM audit_events WHERE (at, id) > (:at, :id) ORDER BY at, id LIMIT :most")
    while rows := op.get_bind().execute(later, {"at": place[0], "id": place[1], "most": AT_ONCE}).all():
        yield list(rows)
        place = (rows[-1].at, rows[-1].id)


def old_hash(row: sa.Row[Any]) -> str:
    """SHA-256 over the canonical JSON of all fields but the hash: the first version's."""
    fields = {name: row._mapping[name] for name in HASHED} | {"data": json.loads(row.data)}
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def new_hash(row: sa.Row[Any]) -> str:
    """RFC 9162's leaf hash over the fields with their lengths, without subject and commitment, which are not there."""
    framed = b"".join(frame(row._mapping[name]) for name in HASHED_SINCE)
    return hashlib.sha256(b"\x00countersign/event/2" + framed).hexdigest()


def frame(value: str | float | None) -> bytes:
    if value is None:
        return b"\x00"
    if isinstance(value, str):
        encoded = value.encode()
        return struct.pack(">BI", 1, len(encoded)) + encoded
    return struct.pack(">Bd", 2, value)
