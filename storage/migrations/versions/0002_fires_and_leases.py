"""What a schedule decided, and who may decide; when schedules, agents and units are at what.

A released revision is never edited.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder_boot_id", sa.Text()),
        sa.Column("fence", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("acquired_at", INT),
        sa.Column("expires_at", INT, server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("fence >= 0", name=op.f("ck_leases_fence")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "schedule_fires",
        sa.Column("schedule_id", sa.Text(), nullable=False),
        sa.Column("fire_at", INT, nullable=False),
        sa.Column("first_at", INT, nullable=False),
        sa.Column("missed_count", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("run_id", sa.Text()),
        sa.Column("decided_at", INT, nullable=False),
        sa.CheckConstraint(
            "decision IN ('run', 'coalesced', 'skipped_overlap', 'skipped_window', 'skipped_paused',"
            " 'skipped_exhausted', 'dropped_queue_full', 'deferred', 'woken', 'wake_failed')",
            name=op.f("ck_schedule_fires_decision"),
        ),
        sa.CheckConstraint("missed_count >= 0", name=op.f("ck_schedule_fires_missed_count")),
        sa.CheckConstraint("first_at <= fire_at", name=op.f("ck_schedule_fires_first_at")),
        sa.ForeignKeyConstraint(
            ["schedule_id"],
            ["schedules.id"],
            name=op.f("fk_schedule_fires_schedule_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("schedule_id", "fire_at", name=op.f("pk_schedule_fires")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    _index("schedule_fires_run", "schedule_fires", "run_id", where="run_id IS NOT NULL")
    _index("schedule_fires_decided", "schedule_fires", "decided_at")
    op.add_column("schedules", sa.Column("due_at", INT))
    op.drop_index("schedules_due", table_name="schedules")
    _index("schedules_due", "schedules", "due_at", where="enabled AND due_at IS NOT NULL")
    _index("schedules_unplanned", "schedules", "id", where="enabled AND due_at IS NULL")
    op.add_column("runs", sa.Column("timeout_ms", INT, server_default=sa.text("3600000"), nullable=False))
    _index(
        "runs_of_schedule",
        "runs",
        "schedule_id",
        where="schedule_id IS NOT NULL AND state IN ('QUEUED', 'PREPARING', 'RUNNING', 'PAUSED')",
    )
    _index("runs_queued", "runs", "device_id", "trigger_kind", where="state = 'QUEUED'")
    _index(
        "runs_late",
        "runs",
        "start_deadline_at",
        where="state = 'QUEUED' AND start_deadline_at IS NOT NULL",
    )
    op.add_column("agent_states", sa.Column("probe_at", INT))
    op.add_column("run_units", sa.Column("read_at", INT))
    op.add_column("run_units", sa.Column("planned_at", INT))


def _index(name: str, table: str, *columns: str, where: str | None = None) -> None:
    predicate = None if where is None else sa.text(where)
    op.create_index(name, table, list(columns), sqlite_where=predicate, postgresql_where=predicate)
