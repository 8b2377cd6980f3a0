"""The first tables: this hub, users, devices, agents, runs, what is on its way, and the logs.

Written out in full, importing nothing of ours: a revision says what the tables
were in its time. A released revision is never edited.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
DOC = sa.Text().with_variant(postgresql.JSONB(), "postgresql")
FLAG = sa.Boolean().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "activity_log",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("at", INT, nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("level", sa.Text(), server_default=sa.text("'info'"), nullable=False),
        sa.Column("agent_id", sa.Text()),
        sa.Column("run_id", sa.Text()),
        sa.Column("device_id", sa.Text()),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("trace_id", sa.Text()),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("data", DOC, server_default=sa.text("'{}'"), nullable=False),
        sa.CheckConstraint(
            "level IN ('debug', 'info', 'warning', 'error')", name=op.f("ck_activity_log_level")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_activity_log")),
        sqlite_strict=True,
    )
    op.create_index("activity_log_agent", "activity_log", ["agent_id", "at"])
    op.create_index("activity_log_at", "activity_log", ["at"])
    op.create_table(
        "hub",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_hub")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.Text(), nullable=False),
        sa.Column("response", DOC),
        sa.Column("created_at", INT, nullable=False),
        sa.PrimaryKeyConstraint("scope", "key", name=op.f("pk_idempotency_keys")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "nodes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.Column("started_at", INT, nullable=False),
        sa.Column("seen_at", INT, nullable=False),
        sa.Column("stopped_at", INT),
        sa.Column("boots_10min", INT, server_default=sa.text("1"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nodes")),
        sa.UniqueConstraint("boot_id", name=op.f("uq_nodes_boot_id")),
        sqlite_strict=True,
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sqlite_strict=True,
    )
    op.create_index("users_one_name", "users", ["name"], unique=True)
    op.create_table(
        "devices",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("platform", sa.Text()),
        sa.Column("max_concurrent_runs", INT, server_default=sa.text("1"), nullable=False),
        sa.Column("connectivity", sa.Text(), server_default=sa.text("'offline'"), nullable=False),
        sa.Column("node_id", sa.Text()),
        sa.Column("session_epoch", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("last_seen_at", INT),
        sa.Column("revoked_at", INT),
        sa.Column("created_at", INT, nullable=False),
        sa.CheckConstraint("connectivity IN ('online', 'offline')", name=op.f("ck_devices_connectivity")),
        sa.CheckConstraint(
            "max_concurrent_runs BETWEEN 1 AND 64", name=op.f("ck_devices_max_concurrent_runs")
        ),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_devices_node_id")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_devices_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_devices")),
        sqlite_strict=True,
    )
    op.create_index(
        "devices_one_name",
        "devices",
        ["user_id", "name"],
        unique=True,
        sqlite_where=sa.text("revoked_at IS NULL"),
        postgresql_where=sa.text("revoked_at IS NULL"),
    )
    op.create_index("devices_user", "devices", ["user_id"])
    op.create_table(
        "agents",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text()),
        sa.Column("instance_id", sa.Text()),
        sa.Column("project_id", sa.Text()),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text()),
        sa.Column("type", sa.Text(), server_default=sa.text("'CUSTOM'"), nullable=False),
        sa.Column("subtype", sa.Text()),
        sa.Column("source", sa.Text(), server_default=sa.text("'api'"), nullable=False),
        sa.Column("executor", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text()),
        sa.Column("prompt_template", sa.Text()),
        sa.Column("data_types", DOC, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("max_concurrent_runs", INT, server_default=sa.text("1"), nullable=False),
        sa.Column("priority", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("config_rev", INT, server_default=sa.text("1"), nullable=False),
        sa.Column("config_fingerprint", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("updated_at", INT, nullable=False),
        sa.Column("deleted_at", INT),
        sa.CheckConstraint("executor IN ('device', 'connector')", name=op.f("ck_agents_executor")),
        sa.CheckConstraint("source IN ('file', 'api')", name=op.f("ck_agents_source")),
        sa.CheckConstraint(
            "subtype IS NULL OR subtype IN ('PLANNER', 'REVIEWER', 'MANAGER', 'TOOL_CURATOR', 'DEPLOYMENT')",
            name=op.f("ck_agents_subtype"),
        ),
        sa.CheckConstraint(
            "type IN ('COORDINATOR', 'ASSISTANT', 'RESEARCHER', 'DEVELOPER', 'DESIGNER', 'SPECIALIST',"
            " 'AUDITOR', 'CUSTOM')",
            name=op.f("ck_agents_type"),
        ),
        sa.CheckConstraint(
            "max_concurrent_runs BETWEEN 1 AND 64", name=op.f("ck_agents_max_concurrent_runs")
        ),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.id"], name=op.f("fk_agents_device_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_agents_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agents")),
        sa.UniqueConstraint("external_id", name=op.f("uq_agents_external_id")),
        sa.UniqueConstraint("user_id", "name", name=op.f("uq_agents_user_id_name")),
        sqlite_strict=True,
    )
    op.create_index("agents_device", "agents", ["device_id"])
    op.create_table(
        "device_tokens",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", DOC, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("expires_at", INT),
        sa.Column("last_used_at", INT),
        sa.Column("revoked_at", INT),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.id"], name=op.f("fk_device_tokens_device_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device_tokens")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_device_tokens_token_hash")),
        sqlite_strict=True,
    )
    op.create_index("device_tokens_device", "device_tokens", ["device_id"])
    op.create_table(
        "agent_configs",
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("config_key", sa.Text(), nullable=False),
        sa.Column("config_type", sa.Text(), server_default=sa.text("'string'"), nullable=False),
        sa.Column("config_value", sa.Text(), nullable=False),
        sa.Column("description", sa.Text()),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("updated_at", INT, nullable=False),
        sa.CheckConstraint(
            "config_type IN ('string', 'integer', 'float', 'boolean', 'json')",
            name=op.f("ck_agent_configs_config_type"),
        ),
        sa.CheckConstraint("length(config_key) BETWEEN 1 AND 255", name=op.f("ck_agent_configs_config_key")),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_agent_configs_agent_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("agent_id", "config_key", name=op.f("pk_agent_configs")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "agent_state_history",
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("seq", INT, nullable=False),
        sa.Column("axis", sa.Text(), nullable=False),
        sa.Column("old_value", sa.Text()),
        sa.Column("new_value", sa.Text(), nullable=False),
        sa.Column("snapshot", DOC, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", INT, nullable=False),
        sa.CheckConstraint(
            "axis IN ('lifecycle', 'availability', 'connectivity', 'health', 'activity')",
            name=op.f("ck_agent_state_history_axis"),
        ),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_agent_state_history_agent_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("agent_id", "seq", name=op.f("pk_agent_state_history")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("agent_state_history_at", "agent_state_history", ["at"])
    op.create_table(
        "agent_states",
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("lifecycle", sa.Text(), server_default=sa.text("'created'"), nullable=False),
        sa.Column("availability", sa.Text(), server_default=sa.text("'available'"), nullable=False),
        sa.Column("connectivity", sa.Text(), server_default=sa.text("'offline'"), nullable=False),
        sa.Column("health", sa.Text(), server_default=sa.text("'ok'"), nullable=False),
        sa.Column("health_reason", sa.Text()),
        sa.Column("exhaust_reason", sa.Text()),
        sa.Column("exhausted_at", INT),
        sa.Column("recovery_at", INT),
        sa.Column("exhaust_count", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("runs_waiting", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("runs_executing", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("resource_usage", DOC, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("metadata", DOC, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("last_heartbeat_at", INT),
        sa.Column("last_activity_at", INT, nullable=False),
        sa.Column("version", INT, server_default=sa.text("1"), nullable=False),
        sa.Column("updated_at", INT, nullable=False),
        sa.CheckConstraint(
            "(availability = 'exhausted') = (exhaust_reason IS NOT NULL AND exhausted_at IS NOT NULL)",
            name=op.f("ck_agent_states_exhausted"),
        ),
        sa.CheckConstraint(
            "availability IN ('available', 'on_call', 'exhausted')", name=op.f("ck_agent_states_availability")
        ),
        sa.CheckConstraint(
            "connectivity IN ('online', 'offline')", name=op.f("ck_agent_states_connectivity")
        ),
        sa.CheckConstraint(
            "exhaust_reason IS NULL OR exhaust_reason IN ('rate_limit', 'billing')",
            name=op.f("ck_agent_states_exhaust_reason"),
        ),
        sa.CheckConstraint("health IN ('ok', 'error')", name=op.f("ck_agent_states_health")),
        sa.CheckConstraint(
            "lifecycle IN ('created', 'initializing', 'ready', 'active', 'paused', 'maintenance',"
            " 'terminated')",
            name=op.f("ck_agent_states_lifecycle"),
        ),
        sa.CheckConstraint(
            "recovery_at IS NULL OR (availability = 'exhausted' AND recovery_at >= exhausted_at)",
            name=op.f("ck_agent_states_recovery_at"),
        ),
        sa.CheckConstraint("runs_executing >= 0", name=op.f("ck_agent_states_runs_executing")),
        sa.CheckConstraint("runs_waiting >= 0", name=op.f("ck_agent_states_runs_waiting")),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_agent_states_agent_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("agent_id", name=op.f("pk_agent_states")),
        sqlite_strict=True,
    )
    op.create_index(
        "agent_states_recovery",
        "agent_states",
        ["recovery_at"],
        sqlite_where=sa.text("availability = 'exhausted'"),
        postgresql_where=sa.text("availability = 'exhausted'"),
    )
    op.create_table(
        "schedules",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("expr", sa.Text()),
        sa.Column("every_ms", INT),
        sa.Column("at_ms", INT),
        sa.Column("tz", sa.Text(), server_default=sa.text("'UTC'"), nullable=False),
        sa.Column("action", sa.Text(), server_default=sa.text("'run'"), nullable=False),
        sa.Column("overlap", sa.Text(), server_default=sa.text("'skip'"), nullable=False),
        sa.Column("coalesce_policy", sa.Text(), server_default=sa.text("'latest'"), nullable=False),
        sa.Column("catchup_window_ms", INT),
        sa.Column("max_catchup", INT, server_default=sa.text("10"), nullable=False),
        sa.Column("start_deadline_ms", INT),
        sa.Column("run_timeout_ms", INT, server_default=sa.text("3600000"), nullable=False),
        sa.Column("jitter_ms", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("max_attempts", INT, server_default=sa.text("5"), nullable=False),
        sa.Column("pause_after_failures", INT, server_default=sa.text("5"), nullable=False),
        sa.Column("enabled", FLAG, server_default=sa.true(), nullable=False),
        sa.Column("paused_reason", sa.Text()),
        sa.Column("consecutive_failures", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("remaining_runs", INT),
        sa.Column("starts_at", INT),
        sa.Column("ends_at", INT),
        sa.Column("cursor_at", INT, nullable=False),
        sa.Column("next_fire_at", INT),
        sa.Column("rev", INT, server_default=sa.text("1"), nullable=False),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("updated_at", INT, nullable=False),
        sa.CheckConstraint("(kind = 'at') = (at_ms IS NOT NULL)", name=op.f("ck_schedules_has_at_ms")),
        sa.CheckConstraint("(kind = 'cron') = (expr IS NOT NULL)", name=op.f("ck_schedules_has_expr")),
        sa.CheckConstraint(
            "(kind = 'every') = (every_ms IS NOT NULL)", name=op.f("ck_schedules_has_every_ms")
        ),
        sa.CheckConstraint("action IN ('run', 'wake')", name=op.f("ck_schedules_action")),
        sa.CheckConstraint(
            "coalesce_policy <> 'all' OR catchup_window_ms IS NOT NULL", name=op.f("ck_schedules_window")
        ),
        sa.CheckConstraint(
            "coalesce_policy IN ('latest', 'earliest', 'all')", name=op.f("ck_schedules_coalesce_policy")
        ),
        sa.CheckConstraint("kind IN ('cron', 'every', 'at')", name=op.f("ck_schedules_kind")),
        sa.CheckConstraint(
            "overlap IN ('skip', 'queue_one', 'queue_all', 'cancel_running', 'allow')",
            name=op.f("ck_schedules_overlap"),
        ),
        sa.CheckConstraint(
            "catchup_window_ms IS NULL OR catchup_window_ms >= 0", name=op.f("ck_schedules_catchup_window_ms")
        ),
        sa.CheckConstraint("enabled IN (0, 1)", name=op.f("ck_schedules_enabled")).ddl_if(dialect="sqlite"),
        sa.CheckConstraint("every_ms IS NULL OR every_ms >= 5000", name=op.f("ck_schedules_every_ms")),
        sa.CheckConstraint("jitter_ms >= 0", name=op.f("ck_schedules_jitter_ms")),
        sa.CheckConstraint("max_attempts BETWEEN 1 AND 20", name=op.f("ck_schedules_max_attempts")),
        sa.CheckConstraint("max_catchup BETWEEN 1 AND 1000", name=op.f("ck_schedules_max_catchup")),
        sa.CheckConstraint(
            "next_fire_at IS NULL OR next_fire_at > cursor_at", name=op.f("ck_schedules_next_fire_at")
        ),
        sa.CheckConstraint("pause_after_failures >= 0", name=op.f("ck_schedules_pause_after_failures")),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_schedules_agent_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedules")),
        sqlite_strict=True,
    )
    op.create_index("schedules_agent", "schedules", ["agent_id"])
    op.create_index(
        "schedules_due",
        "schedules",
        ["next_fire_at"],
        sqlite_where=sa.text("enabled AND next_fire_at IS NOT NULL"),
        postgresql_where=sa.text("enabled AND next_fire_at IS NOT NULL"),
    )
    op.create_table(
        "unit_ledger",
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("unit_key", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("config_fingerprint", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("done_at", INT, nullable=False),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_unit_ledger_agent_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("agent_id", "unit_key", name=op.f("pk_unit_ledger")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("schedule_id", sa.Text()),
        sa.Column("device_id", sa.Text()),
        sa.Column("trigger_kind", sa.Text(), nullable=False),
        sa.Column("fire_key", sa.Text(), nullable=False),
        sa.Column("fire_at", INT, nullable=False),
        sa.Column("eligible_at", INT, nullable=False),
        sa.Column("queue_slot", sa.Text()),
        sa.Column("rerun_of", sa.Text()),
        sa.Column("state", sa.Text(), server_default=sa.text("'QUEUED'"), nullable=False),
        sa.Column("outcome", sa.Text()),
        sa.Column("reason", sa.Text()),
        sa.Column("pause_reason", sa.Text()),
        sa.Column("fence", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("lease_boot_id", sa.Text()),
        sa.Column("lease_expires_at", INT),
        sa.Column("cancel_requested_at", INT),
        sa.Column("cancel_reason", sa.Text()),
        sa.Column("attempt", INT, server_default=sa.text("1"), nullable=False),
        sa.Column("max_attempts", INT, server_default=sa.text("5"), nullable=False),
        sa.Column("crash_count", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("dispatch_count", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("coalesced_count", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("deadline_at", INT),
        sa.Column("start_deadline_at", INT),
        sa.Column("priority", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("config_rev", INT, nullable=False),
        sa.Column("config_fingerprint", sa.Text(), nullable=False),
        sa.Column("parameters", DOC, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("context", DOC, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("progress", sa.REAL(), server_default=sa.text("0"), nullable=False),
        sa.Column("status_message", sa.Text()),
        sa.Column("result", DOC),
        sa.Column("errors", DOC, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("error_count", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("units_total", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("units_done", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("units_skipped", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("units_failed", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("items_created", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("model_requests", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("prompt_tokens", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("completion_tokens", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("state_seq", INT, server_default=sa.text("1"), nullable=False),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("started_at", INT),
        sa.Column("completed_at", INT),
        sa.Column("updated_at", INT, nullable=False),
        sa.CheckConstraint("(state = 'PAUSED') = (pause_reason IS NOT NULL)", name=op.f("ck_runs_paused")),
        sa.CheckConstraint(
            "(state IN ('COMPLETED', 'FAILED', 'CANCELLED')) = (completed_at IS NOT NULL)",
            name=op.f("ck_runs_completed_at"),
        ),
        sa.CheckConstraint(
            "(state IN ('PREPARING', 'RUNNING'))"
            " = (lease_boot_id IS NOT NULL AND lease_expires_at IS NOT NULL)",
            name=op.f("ck_runs_lease"),
        ),
        sa.CheckConstraint(
            "CASE state WHEN 'COMPLETED' THEN COALESCE(outcome IN ('success', 'partial'), FALSE)"
            " WHEN 'FAILED' THEN COALESCE(outcome = 'error', FALSE) ELSE outcome IS NULL END",
            name=op.f("ck_runs_outcome_of_state"),
        ),
        sa.CheckConstraint(
            "fence > 0 OR state IN ('QUEUED', 'PAUSED', 'CANCELLED')", name=op.f("ck_runs_fence")
        ),
        sa.CheckConstraint(
            "outcome IS NULL OR outcome IN ('success', 'partial', 'error')", name=op.f("ck_runs_outcome")
        ),
        sa.CheckConstraint(
            "pause_reason IS NULL OR pause_reason IN ('user', 'device_offline', 'exhausted', 'drain',"
            " 'waiting_input')",
            name=op.f("ck_runs_pause_reason"),
        ),
        sa.CheckConstraint(
            "state IN ('QUEUED', 'PREPARING', 'RUNNING', 'PAUSED', 'COMPLETED', 'FAILED', 'CANCELLED')",
            name=op.f("ck_runs_state"),
        ),
        sa.CheckConstraint(
            "trigger_kind IN ('schedule', 'catchup', 'backfill', 'manual', 'wake', 'rerun')",
            name=op.f("ck_runs_trigger_kind"),
        ),
        sa.CheckConstraint("attempt <= max_attempts", name=op.f("ck_runs_attempt")),
        sa.CheckConstraint("progress BETWEEN 0 AND 100", name=op.f("ck_runs_progress")),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_runs_agent_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.id"], name=op.f("fk_runs_device_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["schedule_id"], ["schedules.id"], name=op.f("fk_runs_schedule_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sa.UniqueConstraint("agent_id", "fire_key", name=op.f("uq_runs_agent_id_fire_key")),
        sqlite_strict=True,
    )
    op.create_index("runs_agent", "runs", ["agent_id", "id"])
    op.create_index(
        "runs_executing",
        "runs",
        ["device_id", "agent_id"],
        sqlite_where=sa.text("state IN ('PREPARING', 'RUNNING')"),
        postgresql_where=sa.text("state IN ('PREPARING', 'RUNNING')"),
    )
    op.create_index(
        "runs_history",
        "runs",
        ["agent_id", "completed_at"],
        sqlite_where=sa.text("completed_at IS NOT NULL"),
        postgresql_where=sa.text("completed_at IS NOT NULL"),
    )
    op.create_index(
        "runs_lease",
        "runs",
        ["lease_expires_at"],
        sqlite_where=sa.text("state IN ('PREPARING', 'RUNNING')"),
        postgresql_where=sa.text("state IN ('PREPARING', 'RUNNING')"),
    )
    op.create_index(
        "runs_one_waiting",
        "runs",
        ["queue_slot"],
        unique=True,
        sqlite_where=sa.text("state = 'QUEUED' AND fence = 0 AND queue_slot IS NOT NULL"),
        postgresql_where=sa.text("state = 'QUEUED' AND fence = 0 AND queue_slot IS NOT NULL"),
    )
    op.create_index(
        "runs_paused",
        "runs",
        ["agent_id", "pause_reason"],
        sqlite_where=sa.text("state = 'PAUSED'"),
        postgresql_where=sa.text("state = 'PAUSED'"),
    )
    op.create_index(
        "runs_ready",
        "runs",
        ["eligible_at", "id"],
        sqlite_where=sa.text("state = 'QUEUED'"),
        postgresql_where=sa.text("state = 'QUEUED'"),
    )
    op.create_table(
        "run_state_history",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("seq", INT, nullable=False),
        sa.Column("old_state", sa.Text()),
        sa.Column("new_state", sa.Text(), nullable=False),
        sa.Column("attempt", INT, nullable=False),
        sa.Column("fence", INT, nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", INT, nullable=False),
        sa.CheckConstraint(
            "new_state IN ('QUEUED', 'PREPARING', 'RUNNING', 'PAUSED', 'COMPLETED', 'FAILED', 'CANCELLED')",
            name=op.f("ck_run_state_history_new_state"),
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name=op.f("fk_run_state_history_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "seq", name=op.f("pk_run_state_history")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "run_units",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("unit_key", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("size_bytes", INT),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("calls_planned", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("calls_settled", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("truncated", FLAG, server_default=sa.false(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("updated_at", INT, nullable=False),
        sa.CheckConstraint(
            "state <> 'DONE' OR calls_settled = calls_planned", name=op.f("ck_run_units_done")
        ),
        sa.CheckConstraint(
            "state IN ('PENDING', 'EXTRACTED', 'DONE', 'SKIPPED', 'FAILED')", name=op.f("ck_run_units_state")
        ),
        sa.CheckConstraint("calls_settled <= calls_planned", name=op.f("ck_run_units_calls_settled")),
        sa.CheckConstraint("truncated IN (0, 1)", name=op.f("ck_run_units_truncated")).ddl_if(
            dialect="sqlite"
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name=op.f("fk_run_units_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "unit_key", name=op.f("pk_run_units")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "run_calls",
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("unit_key", sa.Text(), nullable=False),
        sa.Column("ordinal", INT, nullable=False),
        sa.Column("target_table", sa.Text(), nullable=False),
        sa.Column("payload", DOC),
        sa.Column("state", sa.Text(), server_default=sa.text("'PLANNED'"), nullable=False),
        sa.Column("sends", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("result", DOC),
        sa.Column("updated_at", INT, nullable=False),
        sa.CheckConstraint(
            "state IN ('PLANNED', 'SENT', 'ACKED', 'REJECTED', 'UNKNOWN')", name=op.f("ck_run_calls_state")
        ),
        sa.ForeignKeyConstraint(
            ["run_id", "unit_key"],
            ["run_units.run_id", "run_units.unit_key"],
            name=op.f("fk_run_calls_run_id_unit_key"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("call_id", name=op.f("pk_run_calls")),
        sqlite_strict=True,
    )
    op.create_index(
        "run_calls_open",
        "run_calls",
        ["run_id", "unit_key", "ordinal"],
        sqlite_where=sa.text("state IN ('PLANNED', 'SENT')"),
        postgresql_where=sa.text("state IN ('PLANNED', 'SENT')"),
    )
    op.create_index("run_calls_unit", "run_calls", ["run_id", "unit_key"])
