"""Runs migrations on the connection that storage.schema hands over."""

from alembic import context

from storage.schema import declared
from storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
    include_object=declared,
    transactional_ddl=True,  # SQLite too: the connection begins its transactions itself
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
