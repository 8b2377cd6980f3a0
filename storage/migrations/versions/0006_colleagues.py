"""Agents as colleagues: templates, the history of configs, capabilities, locks, metrics, checkpoints, wakes.

A released revision is never edited.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"

DOC = sa.Text().with_variant(postgresql.JSONB(), "postgresql")
INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
FLAG = sa.Boolean().with_variant(sa.Integer(), "sqlite")
REAL: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
EMPTY_LIST = sa.text("'[]'")
STRICT = {"sqlite_strict": True}  # a rebuilt table forgets it otherwise


def upgrade() -> None:
    op.create_table(
        "agent_templates",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text()),
        sa.Column("agent_type", sa.Text(), server_default=sa.text("'CUSTOM'"), nullable=False),
        sa.Column("subtype", sa.Text()),
        sa.Column("configuration_schema", DOC, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("default_configuration", DOC, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("prompt_template", sa.Text()),
        sa.Column("source", sa.Text(), server_default=sa.text("'api'"), nullable=False),
        sa.Column("version", INT, server_default=sa.text("1"), nullable=False),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("updated_at", INT, nullable=False),
        sa.CheckConstraint("source IN ('file', 'api')", name=op.f("ck_agent_templates_source")),
        sa.CheckConstraint(
            "agent_type IN ('COORDINATOR', 'ASSISTANT', 'RESEARCHER', 'DEVELOPER', 'DESIGNER', 'SPECIALIST',"
            " 'AUDITOR', 'CUSTOM')",
            name=op.f("ck_agent_templates_agent_type"),
        ),
        sa.CheckConstraint(
            "subtype IS NULL OR subtype IN ('PLANNER', 'REVIEWER', 'MANAGER', 'TOOL_CURATOR', 'DEPLOYMENT')",
            name=op.f("ck_agent_templates_subtype"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agent_templates")),
        sa.UniqueConstraint("name", name=op.f("uq_agent_templates_name")),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_table(
        "agent_config_history",
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("seq", INT, nullable=False),
        sa.Column("config_key", sa.Text(), nullable=False),
        sa.Column("old_type", sa.Text()),
        sa.Column("old_value", sa.Text()),
        sa.Column("new_type", sa.Text()),
        sa.Column("new_value", sa.Text()),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", INT, nullable=False),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_agent_config_history_agent_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("agent_id", "seq", name=op.f("pk_agent_config_history")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    _index("agent_config_history_at", "agent_config_history", "at")
    op.create_table(
        "agent_capabilities",
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("ver_major", INT, nullable=False),
        sa.Column("ver_minor", INT, nullable=False),
        sa.Column("ver_patch", INT, nullable=False),
        sa.Column("prerelease", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("enabled", FLAG, server_default=sa.true(), nullable=False),
        sa.Column("source", sa.Text(), server_default=sa.text("'api'"), nullable=False),
        sa.Column("config", DOC, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("description", sa.Text()),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("updated_at", INT, nullable=False),
        sa.CheckConstraint("source IN ('file', 'api', 'device')", name=op.f("ck_agent_capabilities_source")),
        sa.CheckConstraint(
            "ver_major >= 0 AND ver_minor >= 0 AND ver_patch >= 0", name=op.f("ck_agent_capabilities_version")
        ),
        sa.CheckConstraint("enabled IN (0, 1)", name=op.f("ck_agent_capabilities_enabled")).ddl_if(
            dialect="sqlite"
        ),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 255", name=op.f("ck_agent_capabilities_name")),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_agent_capabilities_agent_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint(
            "agent_id",
            "name",
            "ver_major",
            "ver_minor",
            "ver_patch",
            "prerelease",
            name=op.f("pk_agent_capabilities"),
        ),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    _index(
        "agent_capabilities_one_enabled",
        "agent_capabilities",
        "agent_id",
        "name",
        where="enabled",
        unique=True,
    )
    op.create_table(
        "agent_locks",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("fence", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("holder_kind", sa.Text()),
        sa.Column("holder_id", sa.Text()),
        sa.Column("agent_id", sa.Text()),
        sa.Column("ttl_ms", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("acquired_at", INT),
        sa.Column("expires_at", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("request_id", sa.Text()),
        sa.CheckConstraint("fence >= 0", name=op.f("ck_agent_locks_fence")),
        sa.CheckConstraint("length(resource) BETWEEN 1 AND 255", name=op.f("ck_agent_locks_resource")),
        sa.CheckConstraint("(holder_kind IS NULL) = (holder_id IS NULL)", name=op.f("ck_agent_locks_holder")),
        sa.CheckConstraint("holder_id IS NOT NULL OR expires_at = 0", name=op.f("ck_agent_locks_free")),
        sa.CheckConstraint(
            "holder_kind IS NULL OR holder_kind IN ('run', 'device')",
            name=op.f("ck_agent_locks_holder_kind"),
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_agent_locks_user_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_agent_locks_agent_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("user_id", "resource", name=op.f("pk_agent_locks")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    _index("agent_locks_agent", "agent_locks", "agent_id", where="agent_id IS NOT NULL")
    _index("agent_locks_holder", "agent_locks", "holder_kind", "holder_id", where="holder_id IS NOT NULL")
    _index("agent_locks_request", "agent_locks", "request_id", where="request_id IS NOT NULL")
    op.create_table(
        "lock_waits",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("ticket", INT, nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("holder_kind", sa.Text(), nullable=False),
        sa.Column("holder_id", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Text()),
        sa.Column("ttl_ms", INT, nullable=False),
        sa.Column("queued_at", INT, nullable=False),
        sa.Column("deadline_at", INT),
        sa.CheckConstraint("holder_kind IN ('run', 'device')", name=op.f("ck_lock_waits_holder_kind")),
        sa.ForeignKeyConstraint(
            ["user_id", "resource"],
            ["agent_locks.user_id", "agent_locks.resource"],
            name=op.f("fk_lock_waits_user_id_resource"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_lock_waits_agent_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "resource", "ticket", name=op.f("pk_lock_waits")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    _index("lock_waits_agent", "lock_waits", "agent_id", where="agent_id IS NOT NULL")
    _index("lock_waits_holder", "lock_waits", "holder_kind", "holder_id")
    _index("lock_waits_request", "lock_waits", "request_id")
    op.create_table(
        "metric_series",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("metric_type", sa.Text(), server_default=sa.text("'gauge'"), nullable=False),
        sa.Column("tags_key", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("tags", DOC, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("last_at", INT, nullable=False),
        sa.CheckConstraint(
            "metric_type IN ('counter', 'gauge', 'histogram')", name=op.f("ck_metric_series_metric_type")
        ),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 255", name=op.f("ck_metric_series_name")),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_metric_series_agent_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_metric_series")),
        sa.UniqueConstraint(
            "agent_id", "name", "tags_key", name=op.f("uq_metric_series_agent_id_name_tags_key")
        ),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    _index("metric_series_last", "metric_series", "last_at")
    op.create_table(
        "agent_metrics",
        sa.Column("series_id", sa.Text(), nullable=False),
        sa.Column("bucket_ms", INT, nullable=False),
        sa.Column("bucket_at", INT, nullable=False),
        sa.Column("n", INT, nullable=False),
        sa.Column("sum", REAL, nullable=False),
        sa.Column("min", REAL, nullable=False),
        sa.Column("max", REAL, nullable=False),
        sa.Column("last", REAL, nullable=False),
        sa.Column("last_at", INT, nullable=False),
        sa.Column("hist", DOC),
        sa.CheckConstraint("n > 0", name=op.f("ck_agent_metrics_n")),
        sa.ForeignKeyConstraint(
            ["series_id"], ["metric_series.id"], name=op.f("fk_agent_metrics_series_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("series_id", "bucket_ms", "bucket_at", name=op.f("pk_agent_metrics")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    _index("agent_metrics_at", "agent_metrics", "bucket_ms", "bucket_at")
    op.create_table(
        "checkpoints",
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), server_default=sa.text("'agent'"), nullable=False),
        sa.Column("sequence_number", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("is_recoverable", FLAG, server_default=sa.true(), nullable=False),
        sa.Column("state_data", DOC, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("run_id", sa.Text()),
        sa.Column("fence", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("updated_at", INT, nullable=False),
        sa.CheckConstraint("is_recoverable IN (0, 1)", name=op.f("ck_checkpoints_is_recoverable")).ddl_if(
            dialect="sqlite"
        ),
        sa.CheckConstraint("length(scope) BETWEEN 1 AND 255", name=op.f("ck_checkpoints_scope")),
        sa.CheckConstraint("sequence_number >= 0", name=op.f("ck_checkpoints_sequence_number")),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_checkpoints_agent_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("agent_id", "scope", name=op.f("pk_checkpoints")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "wakes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("schedule_id", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("fire_at", INT, nullable=False),
        sa.Column("ends_at", INT, nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'waiting'"), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("sends", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("next_at", INT, nullable=False),
        sa.Column("sent_at", INT),
        sa.Column("settled_at", INT),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("updated_at", INT, nullable=False),
        sa.CheckConstraint(
            "(state IN ('acknowledged', 'failed', 'skipped')) = (settled_at IS NOT NULL)",
            name=op.f("ck_wakes_settled_at"),
        ),
        sa.CheckConstraint("fire_at < ends_at", name=op.f("ck_wakes_ends_at")),
        sa.CheckConstraint(
            "state IN ('waiting', 'sent', 'deferred', 'acknowledged', 'failed', 'skipped')",
            name=op.f("ck_wakes_state"),
        ),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_wakes_agent_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["schedule_id"], ["schedules.id"], name=op.f("fk_wakes_schedule_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wakes")),
        sa.UniqueConstraint("schedule_id", "fire_at", name=op.f("uq_wakes_schedule_id_fire_at")),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    _index("wakes_agent", "wakes", "agent_id", "fire_at")
    _index("wakes_settled", "wakes", "settled_at", where="settled_at IS NOT NULL")
    _index("wakes_due", "wakes", "next_at", where="state IN ('waiting', 'sent', 'deferred')")
    with op.batch_alter_table("agents", table_kwargs=STRICT) as agents:
        agents.add_column(sa.Column("template_id", sa.Text()))
        agents.add_column(sa.Column("needs", DOC, server_default=EMPTY_LIST, nullable=False))
        agents.add_column(sa.Column("locks", DOC, server_default=EMPTY_LIST, nullable=False))
        agents.create_foreign_key(
            op.f("fk_agents_template_id"),
            "agent_templates",
            ["template_id"],
            ["id"],
            ondelete="SET NULL",
        )
    _index("agents_template", "agents", "template_id", where="template_id IS NOT NULL")
    with op.batch_alter_table("agent_configs", table_kwargs=STRICT | {"sqlite_with_rowid": False}) as configs:
        configs.add_column(sa.Column("source", sa.Text(), server_default=sa.text("'api'"), nullable=False))
        configs.create_check_constraint(op.f("ck_agent_configs_source"), "source IN ('file', 'api')")
    with op.batch_alter_table("agent_states", table_kwargs=STRICT) as states:
        states.drop_constraint(op.f("ck_agent_states_exhaust_reason"), type_="check")
        states.create_check_constraint(
            op.f("ck_agent_states_exhaust_reason"),
            "exhaust_reason IS NULL OR exhaust_reason IN ('rate_limit', 'billing', 'budget')",
        )
        states.add_column(sa.Column("runs_running", INT, server_default=sa.text("0"), nullable=False))
        states.create_check_constraint(
            op.f("ck_agent_states_runs_running"), "runs_running BETWEEN 0 AND runs_executing"
        )
    op.execute(
        "UPDATE agent_states SET runs_running = (SELECT count(*) FROM runs"
        " WHERE runs.agent_id = agent_states.agent_id AND runs.state = 'RUNNING')"
    )
    _index("agent_state_history_axis", "agent_state_history", "agent_id", "axis", "seq")
    with op.batch_alter_table("schedules", table_kwargs=STRICT) as schedules:
        schedules.add_column(sa.Column("label", sa.Text()))
        schedules.add_column(sa.Column("duration_ms", INT))
        schedules.create_check_constraint(
            op.f("ck_schedules_duration_ms"), "duration_ms IS NULL OR duration_ms > 0"
        )
        schedules.create_check_constraint(
            op.f("ck_schedules_slot"),
            "(action = 'wake') = (label IS NOT NULL AND duration_ms IS NOT NULL)",
        )
    for name in ("needs", "locks"):
        op.add_column("runs", sa.Column(name, DOC, server_default=EMPTY_LIST, nullable=False))
    _index("runs_needy", "runs", "eligible_at", where="state = 'QUEUED' AND needs <> '[]'")
    # What ended before is measured after the upgrade, as far back as measurements are kept.
    for table in ("runs", "model_calls"):
        op.add_column(table, sa.Column("measured_at", INT))
    ended = "completed_at IS NOT NULL AND measured_at IS NULL"
    _index("runs_unmeasured", "runs", "completed_at", where=ended)
    _index("model_calls_unmeasured", "model_calls", "at", where="measured_at IS NULL")


def _index(name: str, table: str, *columns: str, where: str | None = None, unique: bool = False) -> None:
    predicate = None if where is None else sa.text(where)
    op.create_index(
        name, table, list(columns), unique=unique, sqlite_where=predicate, postgresql_where=predicate
    )
