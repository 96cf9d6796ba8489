"""The database itself refuses a last word that stands alone under four eyes, and actions that are none."""

import sqlalchemy as sa
import structlog
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

log = structlog.get_logger("migrate")
ACTIONS = "action IN ('release', 'flag', 'hold', 'escalate')"
ENDS_FOR_TWO = "final AND four_eyes AND kind IN ('approve', 'edit')"
OF_INTERACTIONS = "ix_idempotency_interaction_id"
CHECKS = {  # of verdicts
    "two_agree": f"NOT ({ENDS_FOR_TWO}) OR agrees_with IS NOT NULL",
    "agrees_with_another": "agrees_with_reviewer <> reviewer_id",
    "agreement_whole": (
        "(agrees_with IS NULL) = (agrees_with_reviewer IS NULL) AND (agrees_with IS NULL OR content_hash IS NOT NULL)"
    ),
}
AGREES = ["item_id", "agrees_with", "agrees_with_reviewer", "content_hash"]
AGREED_WITH = ["item_id", "id", "reviewer_id", "content_hash"]


def upgrade() -> None:
    # one that was altered: it reads as held; where it was another, its MAC lets nothing out
    tell("items with an unknown action are held", f"SELECT id FROM review_items WHERE NOT ({ACTIONS})")  # noqa: S608
    op.execute(f"UPDATE review_items SET action = 'hold' WHERE NOT ({ACTIONS})")  # noqa: S608
    with op.batch_alter_table("review_items") as table:
        table.create_check_constraint(op.f("ck_review_items_action_known"), ACTIONS)
        table.create_unique_constraint("uq_review_items_id_four_eyes", ["id", "four_eyes"])
    with op.batch_alter_table("verdicts") as table:
        table.add_column(sa.Column("four_eyes", sa.Boolean(), nullable=False, server_default=sa.false()))
        table.add_column(sa.Column("agrees_with", sa.Text(), nullable=True))
        table.add_column(sa.Column("agrees_with_reviewer", sa.Text(), nullable=True))
    name_who_agreed()
    with op.batch_alter_table("verdicts") as table:
        for name, check in CHECKS.items():
            table.create_check_constraint(op.f(f"ck_verdicts_{name}"), check)
        table.create_unique_constraint("uq_verdicts_agreed_with", AGREED_WITH)
        both = ["item_id", "four_eyes"]
        table.create_foreign_key("fk_verdicts_item_id_four_eyes", "review_items", both, ["id", "four_eyes"])
        table.create_foreign_key("fk_verdicts_agreement", "verdicts", AGREES, AGREED_WITH)
    where = sa.text("interaction_id IS NOT NULL")
    op.create_index(OF_INTERACTIONS, "idempotency", ["interaction_id"], sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    op.drop_index(OF_INTERACTIONS, "idempotency")
    with op.batch_alter_table("verdicts") as table:
        table.drop_constraint("fk_verdicts_agreement", type_="foreignkey")
        table.drop_constraint("fk_verdicts_item_id_four_eyes", type_="foreignkey")
        table.drop_constraint("uq_verdicts_agreed_with", type_="unique")
        for name in CHECKS:
            table.drop_constraint(op.f(f"ck_verdicts_{name}"), type_="check")
        for name in ("agrees_with_reviewer", "agrees_with", "four_eyes"):
            table.drop_column(name)
    with op.batch_alter_table("review_items") as table:
        table.drop_constraint("uq_review_items_id_four_eyes", type_="unique")
        table.drop_constraint(op.f("ck_review_items_action_known"), type_="check")


def tell(what: str, query: str) -> None:
    """Logs which rows are changed: a downgrade does not bring them back."""
    ids = list(op.get_bind().exec_driver_sql(query).scalars())
    if ids:
        log.warning("rows were changed by migration 0009", what=what, ids=ids)


def name_who_agreed() -> None:
    """The program never ended an item for two without another's word for the same text.

    Where that word is gone, somebody took it out of the database, or put the last one in: then the last one ends
    nothing any more, and the answer is withheld.
    """
    watched = "item_id IN (SELECT id FROM review_items WHERE four_eyes)"
    op.execute(
        f"UPDATE verdicts SET four_eyes = (SELECT i.four_eyes FROM review_items AS i WHERE i.id = verdicts.item_id) "  # noqa: S608
        f"WHERE {watched}"
    )
    first = (
        "SELECT o.{} FROM verdicts AS o WHERE o.item_id = verdicts.item_id AND o.reviewer_id <> verdicts.reviewer_id "
        "AND o.content_hash = verdicts.content_hash AND NOT o.final ORDER BY o.fencing_token, o.id LIMIT 1"
    )
    op.execute(
        f"UPDATE verdicts SET agrees_with = ({first.format('id')}), "  # noqa: S608
        f"agrees_with_reviewer = ({first.format('reviewer_id')}) WHERE {ENDS_FOR_TWO}"
    )
    alone = f"{ENDS_FOR_TWO} AND agrees_with IS NULL"
    tell("last words that agree with nobody's end nothing", f"SELECT id FROM verdicts WHERE {alone}")  # noqa: S608
    op.execute(f"UPDATE verdicts SET final = false WHERE {alone}")  # noqa: S608
