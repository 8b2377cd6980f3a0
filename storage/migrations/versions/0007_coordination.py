"""Coordination: gateways, boards and their memory, messages, questions, souls, tokens of agents.

A released revision is never edited.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"

DOC = sa.Text().with_variant(postgresql.JSONB(), "postgresql")
INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
FLAG = sa.Boolean().with_variant(sa.Integer(), "sqlite")
EMPTY_LIST = sa.text("'[]'")
EMPTY_RECORD = sa.text("'{}'")
STRICT = {"sqlite_strict": True}  # a rebuilt table forgets it otherwise


def upgrade() -> None:
    op.create_table(
        "gateways",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("updated_at", INT, nullable=False),
        sa.Column("deleted_at", INT),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_gateways_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gateways")),
        sa.UniqueConstraint("name", name=op.f("uq_gateways_name")),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_table(
        "gateway_agents",
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("gateway_id", sa.Text(), nullable=False),
        sa.Column("remote_id", sa.Text(), nullable=False),
        sa.Column("session_key", sa.Text()),
        sa.Column("role", sa.Text(), server_default=sa.text("'worker'"), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'wanted'"), nullable=False),
        sa.Column("problem", sa.Text()),
        sa.Column("made_at", INT),
        sa.Column("lease_boot_id", sa.Text()),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("updated_at", INT, nullable=False),
        sa.CheckConstraint("role IN ('main', 'lead', 'worker')", name=op.f("ck_gateway_agents_role")),
        sa.CheckConstraint(
            "state IN ('wanted', 'creating', 'ready', 'failed')", name=op.f("ck_gateway_agents_state")
        ),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_gateway_agents_agent_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["gateway_id"], ["gateways.id"], name=op.f("fk_gateway_agents_gateway_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("agent_id", name=op.f("pk_gateway_agents")),
        sa.UniqueConstraint("gateway_id", "remote_id", name=op.f("uq_gateway_agents_gateway_id_remote_id")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    _index("gateway_agents_main", "gateway_agents", "gateway_id", where="role = 'main'", unique=True)
    op.create_table(
        "boards",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text()),
        sa.Column("gateway_id", sa.Text()),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("updated_at", INT, nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_boards_user_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["gateway_id"], ["gateways.id"], name=op.f("fk_boards_gateway_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_boards")),
        sa.UniqueConstraint("user_id", "name", name=op.f("uq_boards_user_id_name")),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    _index("boards_gateway", "boards", "gateway_id", where="gateway_id IS NOT NULL")
    op.create_table(
        "board_members",
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("board_id", sa.Text(), nullable=False),
        sa.Column("is_lead", FLAG, server_default=sa.false(), nullable=False),
        sa.Column("joined_at", INT, nullable=False),
        sa.CheckConstraint("is_lead IN (0, 1)", name=op.f("ck_board_members_is_lead")).ddl_if(
            dialect="sqlite"
        ),
        sa.ForeignKeyConstraint(
            ["board_id"], ["boards.id"], name=op.f("fk_board_members_board_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_board_members_agent_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("agent_id", name=op.f("pk_board_members")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    _index("board_members_board", "board_members", "board_id")
    _index("board_members_one_lead", "board_members", "board_id", where="is_lead", unique=True)
    op.create_table(
        "board_memory",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("board_id", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("tags", DOC, server_default=EMPTY_LIST, nullable=False),
        sa.Column("is_chat", FLAG, server_default=sa.false(), nullable=False),
        sa.Column("source", sa.Text()),
        sa.Column("correlation_id", sa.Text()),
        sa.Column("reply_to", sa.Text()),
        sa.Column("agent_id", sa.Text()),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("dedupe_key", sa.Text()),
        sa.Column("created_at", INT, nullable=False),
        sa.CheckConstraint("is_chat IN (0, 1)", name=op.f("ck_board_memory_is_chat")).ddl_if(
            dialect="sqlite"
        ),
        sa.ForeignKeyConstraint(
            ["board_id"], ["boards.id"], name=op.f("fk_board_memory_board_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_board_memory")),
        sa.UniqueConstraint("dedupe_key", name=op.f("uq_board_memory_dedupe_key")),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    _index("board_memory_board", "board_memory", "board_id", "created_at", "id")
    op.create_table(
        "broadcasts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("gateway_id", sa.Text()),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("from_agent_id", sa.Text()),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("correlation_id", sa.Text()),
        sa.Column("reply_tags", DOC, server_default=EMPTY_LIST, nullable=False),
        sa.Column("reply_source", sa.Text()),
        sa.Column("trace_id", sa.Text(), nullable=False),
        sa.Column("refused", DOC, server_default=EMPTY_LIST, nullable=False),
        sa.Column("dedupe_key", sa.Text()),
        sa.Column("boards", INT, nullable=False),
        sa.Column("rounds", INT, server_default=sa.text("1"), nullable=False),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("settled_at", INT),
        sa.CheckConstraint("boards >= 0 AND rounds >= 1", name=op.f("ck_broadcasts_counts")),
        sa.CheckConstraint("kind IN ('question', 'handoff')", name=op.f("ck_broadcasts_kind")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_broadcasts_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_broadcasts")),
        sa.UniqueConstraint("dedupe_key", name=op.f("uq_broadcasts_dedupe_key")),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    _index("broadcasts_open", "broadcasts", "id", where="settled_at IS NULL")
    _index("broadcasts_settled", "broadcasts", "settled_at", where="settled_at IS NOT NULL")
    _index("broadcasts_user", "broadcasts", "user_id", "created_at")
    op.create_table(
        "questions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("board_id", sa.Text()),
        sa.Column("from_agent_id", sa.Text()),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("preferred_channel", sa.Text()),
        sa.Column("correlation_id", sa.Text()),
        sa.Column("reply_tags", DOC, server_default=EMPTY_LIST, nullable=False),
        sa.Column("reply_source", sa.Text()),
        sa.Column("trace_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'open'"), nullable=False),
        sa.Column("answer", sa.Text()),
        sa.Column("answered_by", sa.Text()),
        sa.Column("memory_id", sa.Text()),
        sa.Column("message_id", sa.Text()),
        sa.Column("dedupe_key", sa.Text()),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("expires_at", INT, nullable=False),
        sa.Column("settled_at", INT),
        sa.CheckConstraint(
            "(state = 'answered') = (answer IS NOT NULL AND answered_by IS NOT NULL)",
            name=op.f("ck_questions_answered"),
        ),
        sa.CheckConstraint("(state = 'open') = (settled_at IS NULL)", name=op.f("ck_questions_settled_at")),
        sa.CheckConstraint(
            "state IN ('open', 'answered', 'withdrawn', 'expired')", name=op.f("ck_questions_state")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_questions_user_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["board_id"], ["boards.id"], name=op.f("fk_questions_board_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_questions")),
        sa.UniqueConstraint("dedupe_key", name=op.f("uq_questions_dedupe_key")),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    _index("questions_settled", "questions", "settled_at", where="settled_at IS NOT NULL")
    _index("questions_user", "questions", "user_id", "created_at")
    _index("questions_waiting", "questions", "user_id", "state", "expires_at", where="state = 'open'")
    op.create_table(
        "question_tellings",
        sa.Column("question_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("asked_at", INT, nullable=False),
        sa.Column("closed_at", INT),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.id"], name=op.f("fk_question_tellings_device_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["question_id"],
            ["questions.id"],
            name=op.f("fk_question_tellings_question_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("question_id", "device_id", name=op.f("pk_question_tellings")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    _index("question_tellings_device", "question_tellings", "device_id")
    op.create_table(
        "messages",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("board_id", sa.Text()),
        sa.Column("broadcast_id", sa.Text()),
        sa.Column("from_agent_id", sa.Text()),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("to_agent_id", sa.Text()),
        sa.Column("to_lead", FLAG, server_default=sa.false(), nullable=False),
        sa.Column("gateway_id", sa.Text()),
        sa.Column("device_id", sa.Text()),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("deliver", FLAG, server_default=sa.false(), nullable=False),
        sa.Column("queue_mode", sa.Text()),
        sa.Column("correlation_id", sa.Text()),
        sa.Column("reply_to", sa.Text()),
        sa.Column("question_id", sa.Text()),
        sa.Column("reply_tags", DOC, server_default=EMPTY_LIST, nullable=False),
        sa.Column("reply_source", sa.Text()),
        sa.Column("trace_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'waiting'"), nullable=False),
        sa.Column("attempt", INT, server_default=sa.text("1"), nullable=False),
        sa.Column("sends", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("version", INT, server_default=sa.text("1"), nullable=False),
        sa.Column("lease_boot_id", sa.Text()),
        sa.Column("reason_code", sa.Text()),
        sa.Column("reason", sa.Text()),
        sa.Column("answer", sa.Text()),
        sa.Column("memory_id", sa.Text()),
        sa.Column("dedupe_key", sa.Text()),
        sa.Column("not_before", INT, nullable=False),
        sa.Column("expires_at", INT, nullable=False),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("updated_at", INT, nullable=False),
        sa.Column("settled_at", INT),
        sa.CheckConstraint("state <> 'answered' OR answer IS NOT NULL", name=op.f("ck_messages_answered")),
        sa.CheckConstraint("attempt >= 1 AND sends >= 0", name=op.f("ck_messages_counts")),
        sa.CheckConstraint("deliver IN (0, 1)", name=op.f("ck_messages_deliver")).ddl_if(dialect="sqlite"),
        sa.CheckConstraint("state <> 'failed' OR reason_code IS NOT NULL", name=op.f("ck_messages_failed")),
        sa.CheckConstraint(
            "kind IN ('nudge', 'question', 'handoff', 'ask_user', 'answer')", name=op.f("ck_messages_kind")
        ),
        sa.CheckConstraint(
            "queue_mode IS NULL OR queue_mode IN ('steer', 'followup', 'interrupt')",
            name=op.f("ck_messages_queue_mode"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('answered', 'failed', 'expired') OR settled_at IS NOT NULL",
            name=op.f("ck_messages_settled_at"),
        ),
        sa.CheckConstraint(
            "state IN ('waiting', 'sent', 'accepted', 'queued', 'consumed', 'answered', 'interrupted',"
            " 'failed', 'expired')",
            name=op.f("ck_messages_state"),
        ),
        sa.CheckConstraint("to_lead IN (0, 1)", name=op.f("ck_messages_to_lead")).ddl_if(dialect="sqlite"),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.id"], name=op.f("fk_messages_device_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["gateway_id"], ["gateways.id"], name=op.f("fk_messages_gateway_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["board_id"], ["boards.id"], name=op.f("fk_messages_board_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["broadcast_id"], ["broadcasts.id"], name=op.f("fk_messages_broadcast_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_messages_user_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["to_agent_id"], ["agents.id"], name=op.f("fk_messages_to_agent_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
        sa.UniqueConstraint("dedupe_key", name=op.f("uq_messages_dedupe_key")),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    _index("messages_agent", "messages", "to_agent_id", "created_at", where="settled_at IS NULL")
    _index("messages_board", "messages", "board_id", "created_at", where="board_id IS NOT NULL")
    _index(
        "messages_broadcast",
        "messages",
        "broadcast_id",
        "board_id",
        where="broadcast_id IS NOT NULL",
        unique=True,
    )
    _index("messages_due", "messages", "gateway_id", "not_before", "id", where="settled_at IS NULL")
    _index("messages_expiring", "messages", "expires_at", where="settled_at IS NULL")
    _index("messages_open", "messages", "user_id", "settled_at", where="settled_at IS NULL")
    _index("messages_settled", "messages", "settled_at", where="settled_at IS NOT NULL")
    _index("messages_user", "messages", "user_id", "created_at", "id")
    op.create_table(
        "message_moves",
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("seq", INT, nullable=False),
        sa.Column("old_state", sa.Text()),
        sa.Column("new_state", sa.Text(), nullable=False),
        sa.Column("attempt", INT, nullable=False),
        sa.Column("proof", DOC, server_default=EMPTY_RECORD, nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("at", INT, nullable=False),
        sa.CheckConstraint(
            "new_state IN ('waiting', 'sent', 'accepted', 'queued', 'consumed', 'answered', 'interrupted',"
            " 'failed', 'expired')",
            name=op.f("ck_message_moves_new_state"),
        ),
        sa.CheckConstraint(
            "old_state IS NULL OR old_state IN ("
            "'waiting', 'sent', 'accepted', 'queued', 'consumed', 'answered', 'interrupted',"
            " 'failed', 'expired')",
            name=op.f("ck_message_moves_old_state"),
        ),
        sa.ForeignKeyConstraint(
            ["message_id"], ["messages.id"], name=op.f("fk_message_moves_message_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("message_id", "seq", name=op.f("pk_message_moves")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "soul_writes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("board_id", sa.Text()),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("expected_sha256", sa.Text()),
        sa.Column("found_sha256", sa.Text()),
        sa.Column("state", sa.Text(), server_default=sa.text("'waiting'"), nullable=False),
        sa.Column("sends", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("reason_code", sa.Text()),
        sa.Column("problem", sa.Text()),
        sa.Column("reason", sa.Text()),
        sa.Column("source_url", sa.Text()),
        sa.Column("from_agent_id", sa.Text()),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("correlation_id", sa.Text()),
        sa.Column("trace_id", sa.Text(), nullable=False),
        sa.Column("dedupe_key", sa.Text()),
        sa.Column("not_before", INT, nullable=False),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("settled_at", INT),
        sa.CheckConstraint(
            "(state = 'waiting') = (settled_at IS NULL)", name=op.f("ck_soul_writes_settled_at")
        ),
        sa.CheckConstraint(
            "state IN ('waiting', 'done', 'conflict', 'failed')", name=op.f("ck_soul_writes_state")
        ),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_soul_writes_agent_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_soul_writes")),
        sa.UniqueConstraint("dedupe_key", name=op.f("uq_soul_writes_dedupe_key")),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    _index("soul_writes_agent", "soul_writes", "agent_id", "created_at")
    _index("soul_writes_open", "soul_writes", "agent_id", where="state = 'waiting'", unique=True)
    op.create_table(
        "soul_versions",
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("seq", INT, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", INT, nullable=False),
        sa.Column("write_id", sa.Text()),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("source_url", sa.Text()),
        sa.Column("at", INT, nullable=False),
        sa.CheckConstraint("kind IN ('written', 'seen', 'refused')", name=op.f("ck_soul_versions_kind")),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_soul_versions_agent_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("agent_id", "seq", name=op.f("pk_soul_versions")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "agent_tokens",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("last4", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", INT, nullable=False),
        sa.Column("expires_at", INT, nullable=False),
        sa.Column("last_used_at", INT),
        sa.Column("revoked_at", INT),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_agent_tokens_agent_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agent_tokens")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_agent_tokens_token_hash")),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    _index("agent_tokens_agent", "agent_tokens", "agent_id")
    with op.batch_alter_table("agents", table_kwargs=STRICT) as agents:
        agents.drop_constraint(op.f("ck_agents_executor"), type_="check")
        agents.create_check_constraint(
            op.f("ck_agents_executor"), "executor IN ('device', 'connector', 'gateway')"
        )


def _index(name: str, table: str, *columns: str, where: str | None = None, unique: bool = False) -> None:
    predicate = None if where is None else sa.text(where)
    op.create_index(
        name, table, list(columns), unique=unique, sqlite_where=predicate, postgresql_where=predicate
    )
