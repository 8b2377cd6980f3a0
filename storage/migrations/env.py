"""Alembic's own door: runs the revisions on the connection that ``storage.migrate`` opened and commits."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    render_as_batch=True,  # what SQLite cannot alter is rebuilt
    transactional_ddl=True,
)
context.run_migrations()
