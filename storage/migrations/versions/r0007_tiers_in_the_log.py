"""Events are found by the tier of their policy, also those that told it before."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

INDEX = "ix_audit_events_tenant_tier_at"
AT_ONCE = 5_000  # events


def upgrade() -> None:
    op.add_column("audit_events", sa.Column("tier", sa.Text))
    copy_tiers()
    where = sa.text("tier IS NOT NULL")
    op.create_index(INDEX, "audit_events", ["tenant", "tier", "at"], sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Events keep what they say of tiers in `data`: their hashes cover it."""
    op.drop_index(INDEX, "audit_events")
    op.drop_column("audit_events", "tier")


def copy_tiers() -> None:
    """The column says what `data` says: verifiers hold one against the other."""
    place: tuple[float, str] = (float("-inf"), "")
    later = sa.text(
        "SELECT id, at, data FROM audit_events WHERE (at, id) > (:at, :id) AND data LIKE '%\"tier\":%' "
        "ORDER BY at, id LIMIT :most"
    )
    update = sa.text("UPDATE audit_events SET tier = :tier WHERE id = :id AND at = :at")
    while rows := op.get_bind().execute(later, {"at": place[0], "id": place[1], "most": AT_ONCE}).all():
        told = [{"id": row.id, "at": row.at, "tier": tier_in(row.data)} for row in rows]
        if tiers := [each for each in told if each["tier"] is not None]:
            op.get_bind().execute(update, tiers)
        place = (rows[-1].at, rows[-1].id)


def tier_in(data: str) -> str | None:
    try:
        facts = json.loads(data)
    except ValueError:  # no event of this program: the sealer and verifiers say so
        return None
    tier = facts.get("tier") if isinstance(facts, dict) else None
    return tier if isinstance(tier, str) else None
