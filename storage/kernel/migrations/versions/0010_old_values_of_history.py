"""Former states of runs, and former details of agents, are checked in their histories."""

from alembic import op

revision = "0010"
down_revision = "0009"

_STATES = "'QUEUED', 'PREPARING', 'RUNNING', 'PAUSED', 'COMPLETED', 'FAILED', 'CANCELLED'"
_DETAILS = "'CREATED', 'INITIALIZING', 'READY', 'ACTIVE'"


def upgrade() -> None:
    kind = {"sqlite_strict": True, "sqlite_with_rowid": False}
    for table, column, words in (
        ("run_state_history", "old_state", _STATES),
        ("agent_state_history", "old_detail", _DETAILS),
    ):
        with op.batch_alter_table(table, table_kwargs=kind) as history:
            name, check = op.f(f"ck_{table}_{column}"), f"{column} IS NULL OR {column} IN ({words})"
            history.create_check_constraint(name, check)
