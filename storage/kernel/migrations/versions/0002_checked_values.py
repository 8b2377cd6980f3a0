"""Names of agents and values in their history are checked.

On SQLite a change rebuilds its table: ``batch_alter_table`` needs its ``STRICT`` and ``WITHOUT ROWID``.
"""

import hashlib

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

_STRICT = {"sqlite_strict": True}
_STRICT_WITHOUT_ROWID = {"sqlite_strict": True, "sqlite_with_rowid": False}


def upgrade() -> None:
    _check_names_of_agents()
    _check_values_of_history()
    _add_titles_of_agents()
    _add_details_of_history()
    _add_tasks_of_runs()
    _add_indexes_of_filters()
    _add_first_connects()
    _let_agents_hold_locks()
    _tie_devices_to_boots()
    _add_indexes_of_checks()
    _add_users_of_activity()
    _add_indexes_of_lists()
    _add_trees_of_folders()
    _add_names_of_nodes()
    _add_declarations_of_nodes()
    _add_addresses_of_nodes()
    _add_revisions_of_settings()
    _add_changes()
    _add_browser_sessions()
    _add_failed_attempts()
    _add_verdicts_of_items()
    _add_holds_of_budgets()
    _add_times_of_runs()
    _add_mutes_of_issues()
    _add_excerpts_of_items()
    _add_series_of_the_hub()


_NAME = "length(name) BETWEEN 1 AND 255"


def _check_names_of_agents() -> None:
    with op.batch_alter_table("agents", table_kwargs=_STRICT) as agents:
        agents.create_check_constraint(op.f("ck_agents_name"), _NAME)


def _value_of_axis(column: str) -> str:
    return (
        f"(axis = 'lifecycle' AND {column} IN ('created', 'initializing', 'ready', 'active', 'paused',"
        " 'maintenance', 'terminated'))"
        f" OR (axis = 'availability' AND {column} IN ('available', 'on_call', 'exhausted'))"
        f" OR (axis = 'connectivity' AND {column} IN ('online', 'offline'))"
        f" OR (axis = 'health' AND {column} IN ('ok', 'error'))"
        f" OR (axis = 'activity' AND {column} IN ('idle', 'waiting', 'processing', 'saturated'))"
    )


_NEW_VALUE = _value_of_axis("new_value")
_OLD_VALUE = f"old_value IS NULL OR {_value_of_axis('old_value')}"


def _check_values_of_history() -> None:
    with op.batch_alter_table("agent_state_history", table_kwargs=_STRICT_WITHOUT_ROWID) as history:
        history.create_check_constraint(op.f("ck_agent_state_history_new_value"), _NEW_VALUE)
        history.create_check_constraint(op.f("ck_agent_state_history_old_value"), _OLD_VALUE)


def _add_titles_of_agents() -> None:
    with op.batch_alter_table("agents", table_kwargs=_STRICT) as agents:
        agents.add_column(sa.Column("title", sa.Text()))
        agents.create_check_constraint(
            op.f("ck_agents_title"), "title IS NULL OR length(title) BETWEEN 1 AND 100"
        )


_MAY_CHANGE_WORDS = (
    "axis IN ('lifecycle', 'health') OR (axis = 'activity'"
    " AND (old_value IN ('processing', 'saturated')) <> (new_value IN ('processing', 'saturated')))"
)


def _add_details_of_history() -> None:
    op.add_column("agent_state_history", sa.Column("old_detail", sa.Text()))
    _index("agent_state_history_words", "agent_state_history", ["agent_id", "seq"], where=_MAY_CHANGE_WORDS)


def _add_tasks_of_runs() -> None:
    op.add_column("runs", sa.Column("task_id", sa.Text()))
    is_file = op.get_bind().dialect.name == "sqlite"
    kind = (
        "json_type(context, '$.task_id') = 'text'"
        if is_file
        else "jsonb_typeof(context -> 'task_id') = 'string'"
    )
    is_task = f"{kind} AND length(context ->> 'task_id') BETWEEN 1 AND 128"
    op.execute(f"UPDATE runs SET task_id = context ->> 'task_id' WHERE {is_task}")
    _index("runs_of_task", "runs", ["task_id", "created_at", "id"], where="task_id IS NOT NULL")


_LIVE = "state IN ('QUEUED', 'PREPARING', 'RUNNING', 'PAUSED')"


def _add_indexes_of_filters() -> None:
    _index("runs_live", "runs", ["created_at", "id"], where=_LIVE)
    _index("runs_cancelled", "runs", ["created_at", "id"], where="state = 'CANCELLED'")
    version = ["ver_major", "ver_minor", "ver_patch", "prerelease"]
    _index("agent_capabilities_name", "agent_capabilities", ["name", *version], where="enabled")


def _add_first_connects() -> None:
    with op.batch_alter_table("schedules", table_kwargs=_STRICT) as schedules:
        schedules.add_column(sa.Column("first_connect", sa.Text()))
        schedules.create_check_constraint(
            op.f("ck_schedules_first_connect"),
            "first_connect IS NULL OR first_connect IN ('awaited', 'due', 'done')",
        )
    _index("schedules_first_connect", "schedules", ["id"], where="first_connect = 'due'")


def _let_agents_hold_locks() -> None:
    _set_holders_of_locks("'run', 'device', 'agent'")


def _set_holders_of_locks(kinds: str) -> None:
    for table, check in (
        ("agent_locks", f"holder_kind IS NULL OR holder_kind IN ({kinds})"),
        ("lock_waits", f"holder_kind IN ({kinds})"),
    ):
        with op.batch_alter_table(table, table_kwargs=_STRICT_WITHOUT_ROWID) as rows:
            rows.drop_constraint(op.f(f"ck_{table}_holder_kind"), type_="check")
            rows.create_check_constraint(op.f(f"ck_{table}_holder_kind"), check)


def _add_indexes_of_checks() -> None:
    _index("audit_log_event", "audit_log", ["event", "seq"], where=None)
    _index("agent_states_failing", "agent_states", ["agent_id"], where="health <> 'ok'")


def _add_users_of_activity() -> None:
    op.add_column("activity_log", sa.Column("user_id", sa.Text()))
    owners = (f"(SELECT user_id FROM {owned}s WHERE id = {owned}_id)" for owned in ("agent", "device"))
    op.execute(f"UPDATE activity_log SET user_id = COALESCE({', '.join(owners)})")


# name, table, columns, rows: of indexes in the order of lists, and of those that they replace
_LISTED: tuple[tuple[str, str, str, str | None], ...] = (
    ("items_listed", "items", "verdict created_at id", "agent_id IS NOT NULL AND length(id) > 0"),
    ("items_of_user", "items", "user_id verdict created_at id", "agent_id IS NOT NULL AND length(id) > 0"),
    ("items_of_agent", "items", "agent_id verdict created_at id", "agent_id IS NOT NULL AND length(id) > 0"),
    ("items_of_run", "items", "run_id", "length(id) > 0"),
    ("items_decided", "items", "verdict verdict_at", "verdict_at IS NOT NULL AND length(id) > 0"),
    (
        "items_decided_of_user",
        "items",
        "user_id verdict verdict_at",
        "verdict_at IS NOT NULL AND length(id) > 0",
    ),
    ("activity_log_event", "activity_log", "event_type at id", None),
    ("activity_log_user", "activity_log", "user_id at id", "user_id IS NOT NULL"),
    ("messages_state", "messages", "state created_at id", "length(id) > 0"),
    ("messages_to", "messages", "to_agent_id created_at id", "to_agent_id IS NOT NULL AND length(id) > 0"),
    (
        "messages_from",
        "messages",
        "from_agent_id created_at id",
        "from_agent_id IS NOT NULL AND length(id) > 0",
    ),
    (
        "messages_correlation",
        "messages",
        "correlation_id created_at id",
        "correlation_id IS NOT NULL AND length(id) > 0",
    ),
    ("questions_message", "questions", "message_id", "message_id IS NOT NULL"),
    ("questions_state", "questions", "state created_at id", "length(id) > 0"),
    ("questions_board", "questions", "board_id created_at id", "board_id IS NOT NULL AND length(id) > 0"),
    (
        "questions_correlation",
        "questions",
        "correlation_id created_at id",
        "correlation_id IS NOT NULL AND length(id) > 0",
    ),
    (
        "broadcasts_gateway",
        "broadcasts",
        "gateway_id created_at id",
        "gateway_id IS NOT NULL AND length(id) > 0",
    ),
    ("runs_of_device", "runs", "device_id created_at id", "device_id IS NOT NULL AND length(id) > 0"),
    ("runs_live_agent", "runs", "agent_id id", _LIVE),
    ("agents_removed", "agents", "name created_at", "deleted_at IS NOT NULL"),
    ("agent_locks_name", "agent_locks", "resource", None),
    ("devices_revoked", "devices", "revoked_at", "revoked_at IS NOT NULL"),
    ("device_keys_revoked", "device_keys", "revoked_at", "revoked_at IS NOT NULL"),
    ("device_tokens_revoked", "device_tokens", "revoked_at", "revoked_at IS NOT NULL"),
    ("device_tokens_expires", "device_tokens", "expires_at", "revoked_at IS NULL AND expires_at IS NOT NULL"),
    ("agent_tokens_revoked", "agent_tokens", "revoked_at", "revoked_at IS NOT NULL"),
    ("agent_tokens_expires", "agent_tokens", "expires_at", "revoked_at IS NULL"),
)
_REPLACED: tuple[tuple[str, str, str, str | None], ...] = (
    ("items_by_age", "items", "created_at id", None),
    ("items_newest", "items", "user_id created_at id", None),
)


def _add_indexes_of_lists() -> None:
    for name, *_ in _REPLACED:
        op.drop_index(name)
    for name, table, columns, where in _LISTED:
        _index(name, table, columns.split(), where=where)


def _tie_devices_to_boots() -> None:
    op.add_column("devices", sa.Column("boot_id", sa.Text()))
    op.add_column("devices", sa.Column("taken_from", sa.Text()))
    op.execute(  # the connections of hubs that are dead are closed at the start
        "UPDATE devices SET boot_id = COALESCE((SELECT nodes.boot_id FROM nodes WHERE nodes.id ="
        " devices.node_id), 'unknown') WHERE connectivity = 'online'"
    )
    _index("devices_present", "devices", ["boot_id", "user_id"], where="boot_id IS NOT NULL")
    _index("devices_taken", "devices", ["taken_from"], where="taken_from IS NOT NULL")


def _index(name: str, table: str, columns: list[str], *, where: str | None) -> None:
    rows = None if where is None else sa.text(where)
    op.create_index(name, table, columns, sqlite_where=rows, postgresql_where=rows)


def _add_trees_of_folders() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    unchanged = sa.Column("units_unchanged", number, server_default=sa.text("0"), nullable=False)
    op.add_column("runs", unchanged)
    op.create_table(
        "folder_trees",
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("config_fingerprint", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text()),
        sa.Column("listed_at", number, nullable=False),
        sa.PrimaryKeyConstraint("agent_id", "run_id", name=op.f("pk_folder_trees")),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_folder_trees_agent_id"), ondelete="CASCADE"
        ),
        **_STRICT_WITHOUT_ROWID,
    )


def _add_names_of_nodes() -> None:
    for name in ("name", "version", "revision"):
        op.add_column("nodes", sa.Column(name, sa.Text()))
    op.add_column("nodes", sa.Column("demand", sa.BigInteger().with_variant(sa.Integer(), "sqlite")))


def _add_declarations_of_nodes() -> None:
    is_checked = op.get_bind().dialect.name == "sqlite"
    with op.batch_alter_table("nodes", table_kwargs=_STRICT) as nodes:
        nodes.add_column(sa.Column("declared", sa.Text() if is_checked else postgresql.JSONB()))
        if is_checked:
            check = "declared IS NULL OR json_valid(declared)"
            nodes.create_check_constraint(op.f("ck_nodes_declared_json"), check)


def _add_revisions_of_settings() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "settings_revisions",
        sa.Column("number", number, autoincrement=False, nullable=False),
        sa.Column("text", sa.Text()),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", number, nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_settings_revisions")),
        **_STRICT,
    )
    op.add_column("nodes", sa.Column("settings_number", number))
    op.add_column("nodes", sa.Column("settings_refused", sa.Text()))
    op.add_column("nodes", sa.Column("sealed_keys", sa.LargeBinary()))


def _add_addresses_of_nodes() -> None:
    op.add_column("nodes", sa.Column("address", sa.Text()))


def _add_changes() -> None:
    op.create_table(
        "changes",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("user_id", sa.Text()),
        sa.PrimaryKeyConstraint("source", "subject", name=op.f("pk_changes")),
        **_STRICT_WITHOUT_ROWID,
    )
    _index("changes_seq", "changes", ["seq"], where=None)


def _add_browser_sessions() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    is_file = op.get_bind().dialect.name == "sqlite"
    scopes = sa.Text() if is_file else postgresql.JSONB()
    checks = [
        sa.CheckConstraint("role IN ('viewer', 'operator', 'admin')", name=op.f("ck_browser_sessions_role"))
    ]
    if is_file:
        checks.append(
            sa.CheckConstraint(
                "scopes IS NULL OR json_valid(scopes)", name=op.f("ck_browser_sessions_scopes_json")
            )
        )
    references = [
        sa.ForeignKeyConstraint(
            [column], [f"{table}.id"], name=op.f(f"fk_browser_sessions_{column}"), ondelete="CASCADE"
        )
        for column, table in (("user_id", "users"), ("token_id", "operator_tokens"), ("device_id", "devices"))
    ]
    op.create_table(
        "browser_sessions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("scopes", scopes, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("user_id", sa.Text()),
        sa.Column("token_id", sa.Text()),
        sa.Column("device_id", sa.Text()),
        sa.Column("last4", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", number, nullable=False),
        sa.Column("opened_at", number),
        sa.Column("expires_at", number, nullable=False),
        sa.Column("last_used_at", number),
        sa.Column("revoked_at", number),
        *checks,
        *references,
        sa.PrimaryKeyConstraint("id", name=op.f("pk_browser_sessions")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_browser_sessions_token_hash")),
        **_STRICT,
    )
    _index("browser_sessions_token", "browser_sessions", ["token_id"], where="token_id IS NOT NULL")
    _index("browser_sessions_device", "browser_sessions", ["device_id"], where="device_id IS NOT NULL")


def _add_failed_attempts() -> None:
    is_checked = op.get_bind().dialect.name == "sqlite"
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    recent = sa.Column(
        "recent",
        sa.Text() if is_checked else postgresql.JSONB(),
        server_default=sa.text("'[]'"),
        nullable=False,
    )
    valid = sa.CheckConstraint(
        "recent IS NULL OR json_valid(recent)", name=op.f("ck_failed_attempts_recent_json")
    )
    op.create_table(
        "failed_attempts",
        sa.Column("party", sa.Text(), nullable=False),
        recent,
        sa.Column("waits", number, server_default=sa.text("0"), nullable=False),
        sa.Column("wait_ends_at", number, server_default=sa.text("0"), nullable=False),
        sa.Column("failed_at", number, nullable=False),
        sa.PrimaryKeyConstraint("party", name=op.f("pk_failed_attempts")),
        *((valid,) if is_checked else ()),
        **_STRICT_WITHOUT_ROWID,
    )
    _index("failed_attempts_failed", "failed_attempts", ["failed_at"], where=None)


def _add_verdicts_of_items() -> None:
    is_file = op.get_bind().dialect.name == "sqlite"
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    document = sa.Text() if is_file else postgresql.JSONB()
    checks = {
        "verdict": "verdict IN ('approve', 'edit', 'reject', 'undo')",
        "state": "state IN ('pending', 'sent', 'done', 'refused')",
        "undoes": "(verdict = 'undo') = (undoes IS NOT NULL)",
        "settled_at": "(state IN ('done', 'refused')) = (settled_at IS NOT NULL)",
    }
    if is_file:
        checks |= {f"{name}_json": f"{name} IS NULL OR json_valid({name})" for name in ("data", "source")}
    op.create_table(
        "item_verdicts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("data", document, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("seen_call", sa.Text(), nullable=False),
        sa.Column("undoes", sa.Text()),
        sa.Column("source", document),
        sa.Column("state", sa.Text(), server_default=sa.text("'pending'"), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("sends", number, server_default=sa.text("0"), nullable=False),
        sa.Column("epoch", number, server_default=sa.text("0"), nullable=False),
        sa.Column("next_at", number, nullable=False),
        sa.Column("counter", number),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("created_at", number, nullable=False),
        sa.Column("settled_at", number),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_item_verdicts")),
        *(
            sa.ForeignKeyConstraint(
                [f"{of}_id"], [f"{of}s.id"], name=op.f(f"fk_item_verdicts_{of}_id"), ondelete="CASCADE"
            )
            for of in ("item", "user")
        ),
        *(sa.CheckConstraint(check, name=op.f(f"ck_item_verdicts_{name}")) for name, check in checks.items()),
        **_STRICT,
    )
    is_open = sa.text("state IN ('pending', 'sent')")
    op.create_index(
        *("item_verdicts_open", "item_verdicts", ["item_id"]),
        unique=True,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    _index("item_verdicts_due", "item_verdicts", ["device_id", "created_at", "id"], where=str(is_open))
    _index("item_verdicts_item", "item_verdicts", ["item_id", "created_at"], where=None)
    _index("item_verdicts_user", "item_verdicts", ["user_id"], where=None)
    _index("item_verdicts_settled", "item_verdicts", ["settled_at"], where="settled_at IS NOT NULL")


def _add_holds_of_budgets() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "budget_holds",
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("began", number, nullable=False),
        sa.Column("tokens", number, nullable=False),
        sa.Column("cost_nanos", number, nullable=False),
        sa.Column("in_flight", number, nullable=False),
        sa.PrimaryKeyConstraint("boot_id", "account", "began", name=op.f("pk_budget_holds")),
        **_STRICT_WITHOUT_ROWID,
    )


def _add_times_of_runs() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("run_units", sa.Column("began_at", number))
    op.add_column("run_calls", sa.Column("sent_at", number))


def _add_mutes_of_issues() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "issue_mutes",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("muted_at", number, nullable=False),
        sa.Column("ends_at", number),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_issue_mutes")),
        **_STRICT_WITHOUT_ROWID,
    )
    _index("issue_mutes_ends", "issue_mutes", ["ends_at"], where="ends_at IS NOT NULL")


def _add_excerpts_of_items() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "item_excerpts",
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", number, nullable=False),
        sa.PrimaryKeyConstraint("item_id", name=op.f("pk_item_excerpts")),
        sa.ForeignKeyConstraint(
            ["item_id"], ["items.id"], name=op.f("fk_item_excerpts_item_id"), ondelete="CASCADE"
        ),
        **_STRICT,
    )
    op.create_index("item_excerpts_key", "item_excerpts", ["key_id", "created_at"])
    op.create_index("item_excerpts_age", "item_excerpts", ["created_at"])


def _add_series_of_the_hub() -> None:
    with op.batch_alter_table("metric_series", table_kwargs=_STRICT) as series:
        series.alter_column("agent_id", existing_type=sa.Text(), nullable=True)
    c = op.get_bind()
    document = ":tags" if c.dialect.name == "sqlite" else "CAST(:tags AS JSONB)"
    of_agents = c.execute(
        sa.text(
            "SELECT name, metric_type, tags_key, MIN(created_at) AS created_at, MAX(last_at) AS last_at"
            " FROM metric_series WHERE name LIKE 'hub.%' GROUP BY name, metric_type, tags_key"
        )
    ).all()
    for row in of_agents:
        identity = "\0".join(("", row.name, row.tags_key))
        values = row._asdict() | {
            "id": hashlib.blake2b(identity.encode(), digest_size=16).hexdigest(),
            "tags": row.tags_key or "{}",
        }
        c.execute(
            sa.text(
                "INSERT INTO metric_series (id, name, metric_type, tags_key, tags, created_at, last_at)"
                f" VALUES (:id, :name, :metric_type, :tags_key, {document}, :created_at, :last_at)"
            ),
            values,
        )
        c.execute(  # without sketches, so their percentiles begin with this release
            sa.text(
                "INSERT INTO agent_metrics (series_id, bucket_ms, bucket_at, n, sum, min, max, last, last_at)"
                " SELECT :id, b.bucket_ms, b.bucket_at, SUM(b.n), SUM(b.sum), MIN(b.min), MAX(b.max),"
                " MAX(b.last), MAX(b.last_at) FROM agent_metrics b JOIN metric_series s ON s.id = b.series_id"
                " WHERE s.agent_id IS NOT NULL AND s.name = :name AND s.tags_key = :tags_key"
                " GROUP BY b.bucket_ms, b.bucket_at"
            ),
            values,
        )
