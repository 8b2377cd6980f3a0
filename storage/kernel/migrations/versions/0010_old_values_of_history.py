"""Former states of runs, and former details of agents, are checked in their histories."""

from alembic import op

revision = "0010"
down_revision = "0009"

_WORDS = {
    ("run_state_history", "old_state"): (
        "'QUEUED', 'PREPARING', 'RUNNING', 'PAUSED', 'COMPLETED', 'FAILED', 'CANCELLED'"
    ),
    ("agent_state_history", "old_detail"): "'CREATED', 'INITIALIZING', 'READY', 'ACTIVE'",
}


def upgrade() -> None:
    for (table, column), words in _WORDS.items():
        kind = {"sqlite_strict": True, "sqlite_with_rowid": False}
        with op.batch_alter_table(table, table_kwargs=kind) as history:
            check = f"{column} IS NULL OR {column} IN ({words})"
            history.create_check_constraint(op.f(f"ck_{table}_{column}"), check)
