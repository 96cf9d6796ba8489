"""A MAC beside each event that waits to be sealed, and the names of Idempotency-Keys kept as MACs only."""

import sqlalchemy as sa
from alembic import context, op

from storage.errors import KeysUnfit
from storage.schema_errors import EventsWait
from storage.vault import Vault, vault_of

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

AT_ONCE = 5_000  # rows


def upgrade() -> None:
    with op.batch_alter_table("audit_unsealed") as table:
        table.add_column(sa.Column("vouched", sa.Text(), nullable=True))
    vouch_for_what_waits()
    with op.batch_alter_table("audit_unsealed") as table:  # a process of an older version writes nothing any more
        table.alter_column("vouched", nullable=False)
    hide_names()


def downgrade() -> None:
    with op.batch_alter_table("audit_unsealed") as table:
        table.drop_column("vouched")
    op.execute("DELETE FROM idempotency")  # by their MACs no older version would find them


def vouch_for_what_waits() -> None:
    """What an older version wrote is vouched for as it stands now, if an operator said so; nothing that comes later is.

    Not by itself: whoever writes to the database can set its version back and put rows of their own in the line.
    """
    waiting = op.get_bind().exec_driver_sql("SELECT count(*) FROM audit_unsealed").scalar_one()
    if waiting and not context.config.attributes["vouch_for_waiting"]:
        raise EventsWait(waiting)
    after, update = "", sa.text("UPDATE audit_unsealed SET vouched = :mac WHERE event_id = :id")
    page = sa.text("SELECT event_id, hash FROM audit_unsealed WHERE event_id > :after ORDER BY event_id LIMIT :most")
    while rows := op.get_bind().execute(page, {"after": after, "most": AT_ONCE}).all():
        said = [(row.event_id, f"countersign/waiting/1\x00{row.event_id}\x00{row.hash}") for row in rows]
        op.get_bind().execute(update, [{"id": id_, "mac": own_vault().vouch(text.encode())} for id_, text in said])
        after = rows[-1].event_id


def hide_names() -> None:
    rows = op.get_bind().exec_driver_sql("SELECT key_id, name FROM idempotency").all()
    update = sa.text("UPDATE idempotency SET name = :mac WHERE key_id = :key_id AND name = :name")
    for key_id, name in rows:
        said = f"countersign/idempotency-name/1\x00{key_id}\x00{name}".encode()
        op.get_bind().execute(update, {"key_id": key_id, "name": name, "mac": own_vault().vouch(said)})


def own_vault() -> Vault:
    vault = vault_of(op.get_bind())
    if vault is None:
        raise KeysUnfit("What this database holds is vouched for with the master key: run `countersign migrate`.")
    return vault
