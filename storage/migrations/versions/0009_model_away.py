"""Runs that are paused because their model is away.

A released revision is never edited.
"""

from alembic import op

revision = "0009"
down_revision = "0008"

STRICT = {"sqlite_strict": True}  # a rebuilt table forgets it otherwise


def upgrade() -> None:
    with op.batch_alter_table("runs", table_kwargs=STRICT) as runs:
        runs.drop_constraint(op.f("ck_runs_pause_reason"), type_="check")
        runs.create_check_constraint(
            op.f("ck_runs_pause_reason"),
            "pause_reason IS NULL OR pause_reason IN ('user', 'device_offline', 'exhausted', 'model_away',"
            " 'drain', 'waiting_input')",
        )
