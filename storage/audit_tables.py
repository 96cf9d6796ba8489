"""The tables of the audit log: events, the tree that is grown over them, its checkpoints, and whose facts they hold."""

from __future__ import annotations

import sqlalchemy as sa

from storage.metadata import metadata

FILTER_MARKS = ("key_id", "model", "action", "reason", "reviewer", "verdict", "tier")
FILTER_IDS = ("interaction_id", "item_id", "trace_id")


def _newest(*columns: str, present: str | None = None) -> sa.Index:
    """An index that a filter's newest events are read from; `present`: only for the rows that have this mark."""
    where = None if present is None else sa.text(f"{present} IS NOT NULL")
    return sa.Index(None, *columns, sqlite_where=where, postgresql_where=where)


audit_events = sa.Table(
    "audit_events",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("interaction_id", sa.Text),
    sa.Column("item_id", sa.Text),
    sa.Column("trace_id", sa.Text),
    sa.Column("data", sa.Text, nullable=False),  # canonical JSON
    sa.Column("hash", sa.Text, nullable=False),  # hex RFC 9162 leaf hash, see storage/audit_log.py
    sa.Column("subject", sa.Text),  # whose private facts these are: subjects.id
    sa.Column("commitment", sa.Text),  # hex SHA-256 of salt and sealed; the hash covers it
    sa.Column("salt", sa.Text),  # 16 random bytes in hexadecimal; gone once erased
    sa.Column("sealed", sa.Text),  # private facts under the subject's key (AES-GCM, base64); gone once erased
    # Copies out of `data` for the filters; the hash covers `data`, not these.
    sa.Column("key_id", sa.Text),
    sa.Column("model", sa.Text),
    sa.Column("action", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("reviewer", sa.Text),
    sa.Column("verdict", sa.Text),
    sa.Column("tier", sa.Text),
    sa.Column("confidence", sa.Double),
    # storage/audit_query.py reads every filter from an index of its own; a row without the mark costs nothing there.
    sa.Index(None, "tenant", "at", "id"),
    _newest("tenant", "kind", "at"),
    *(_newest("tenant", mark, "at", present=mark) for mark in FILTER_MARKS),
    *(_newest(name, "at", present=name) for name in FILTER_IDS),
    _newest("tenant", "at", "id", "confidence", present="confidence"),  # for wide ranges of confidence
    _newest("tenant", "confidence", "at", present="confidence"),  # for narrow ones
)

# Events whose transaction is committed and that the tree does not hold yet; a row leaves when its leaf is written.
audit_unsealed = sa.Table(
    "audit_unsealed",
    metadata,
    sa.Column("event_id", sa.Text, primary_key=True),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("vouched", sa.Text, nullable=False),  # MAC under the master key; what has none, or '', is not sealed
)

audit_leaves = sa.Table(
    "audit_leaves",
    metadata,
    sa.Column("leaf_index", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("event_id", sa.Text, nullable=False, unique=True),
    sa.Column("hash", sa.Text, nullable=False),
)

# Roots of complete subtrees: level k, position p covers the leaves p·256^k … (p+1)·256^k − 1. Proofs start from them.
audit_nodes = sa.Table(
    "audit_nodes",
    metadata,
    sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("hash", sa.Text, nullable=False),
)

audit_checkpoints = sa.Table(
    "audit_checkpoints",
    metadata,
    sa.Column("tree_size", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("note", sa.Text, nullable=False),  # C2SP checkpoint with its Ed25519 signature, as kept outside too
)

# Whose private facts events hold. Erasing a subject destroys its key; the row stays for the events that name it.
subjects = sa.Table(
    "subjects",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("name_mac", sa.Text),  # HMAC of the subject's name under the master key: found, but not readable
    sa.Column("wrapped_key", sa.Text),  # AES-GCM under the master key, base64
    sa.Column("master_id", sa.Text, nullable=False),  # which master key wrapped it
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("erased_at", sa.Double),
    sa.UniqueConstraint("tenant", "name_mac"),
)

legal_holds = sa.Table(
    "legal_holds",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=False),  # an interaction's id, a subject's id, or the tenant itself
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("placed_by", sa.Text, nullable=False),
    sa.Column("placed_at", sa.Double, nullable=False),
    sa.Column("lifted_by", sa.Text),
    sa.Column("lifted_at", sa.Double),
    sa.CheckConstraint("scope IN ('tenant', 'subject', 'interaction')", name="scope_known"),
    sa.Index(None, "tenant", "lifted_at"),
)
