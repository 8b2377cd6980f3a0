"""Alembic's environment: runs the revisions on the connection that ``storage.kernel.migrate`` opened."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    render_as_batch=True,  # what SQLite cannot alter is rebuilt
    transactional_ddl=True,
)
context.run_migrations()
