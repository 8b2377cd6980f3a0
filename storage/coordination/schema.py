"""Tables of coordination: gateways, boards and their memory, messages, questions, souls.

Part of the metadata of ``storage.schema``.
"""

from typing import Any

import sqlalchemy as sa

from protocol.messages import MessageKind, MessageState, QuestionState, QueueMode, SoulWriteState
from storage.kernel.columns import (
    Choice,
    Flag,
    Int,
    Reported,
    doc,
    index,
    key,
    number,
    one_of,
    reference,
    table,
    text,
    waits,
    zero_or_one,
)

gateways = table(
    "gateways",
    key("id"),
    reference("user_id", "users.id", ondelete="CASCADE"),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    number("created_at"),
    number("updated_at"),
    sa.Column("deleted_at", Int),
)

gateway_agents = table(
    "gateway_agents",
    key("agent_id", of="agents.id"),
    reference("gateway_id", "gateways.id", ondelete="CASCADE"),
    text("remote_id"),
    sa.Column("session_key", sa.Text),
    text("role", "worker"),
    text("state", "wanted"),
    sa.Column("problem", Reported),
    sa.Column("made_at", Int),
    sa.Column("lease_boot_id", sa.Text),
    number("created_at"),
    number("updated_at"),
    sa.UniqueConstraint("gateway_id", "remote_id"),
    one_of("role", ("main", "lead", "worker")),
    one_of("state", ("wanted", "creating", "ready", "failed")),
    rowid=False,
)
index("gateway_agents_main", gateway_agents.c.gateway_id, where="role = 'main'", unique=True)

boards = table(
    "boards",
    key("id"),
    reference("user_id", "users.id", ondelete="CASCADE"),
    text("name"),
    sa.Column("description", sa.Text),
    reference("gateway_id", "gateways.id", ondelete="SET NULL", nullable=True),
    number("created_at"),
    number("updated_at"),
    sa.UniqueConstraint("user_id", "name"),
)
index("boards_by_name", boards.c.name, boards.c.id)
index("boards_gateway", boards.c.gateway_id, where="gateway_id IS NOT NULL")

board_members = table(
    "board_members",
    key("agent_id", of="agents.id"),
    reference("board_id", "boards.id", ondelete="CASCADE"),
    sa.Column("is_lead", Flag, nullable=False, server_default=sa.false()),
    number("joined_at"),
    zero_or_one("is_lead"),
    rowid=False,
)
index("board_members_board", board_members.c.board_id)
index("board_members_one_lead", board_members.c.board_id, where="is_lead", unique=True)

board_memory = table(
    "board_memory",
    key("id"),
    reference("board_id", "boards.id", ondelete="CASCADE"),
    text("content"),
    doc("tags", "[]"),
    sa.Column("is_chat", Flag, nullable=False, server_default=sa.false()),
    sa.Column("source", sa.Text),
    sa.Column("correlation_id", sa.Text),
    sa.Column("reply_to", sa.Text),
    sa.Column("agent_id", sa.Text),
    text("actor"),
    sa.Column("dedupe_key", sa.Text, unique=True),
    number("created_at"),
    zero_or_one("is_chat"),
)
index("board_memory_board", board_memory.c.board_id, board_memory.c.created_at, board_memory.c.id)

broadcasts = table(
    "broadcasts",
    key("id"),
    reference("user_id", "users.id", ondelete="CASCADE"),
    sa.Column("gateway_id", sa.Text),
    text("kind"),
    text("content"),
    sa.Column("from_agent_id", sa.Text),
    text("actor"),
    sa.Column("correlation_id", sa.Text),
    doc("reply_tags", "[]"),
    sa.Column("reply_source", sa.Text),
    text("trace_id"),
    doc("refused", "[]", list[dict[str, Any]]),
    sa.Column("dedupe_key", sa.Text, unique=True),
    number("boards"),
    number("rounds", 1),
    number("created_at"),
    sa.Column("settled_at", Int),
    one_of("kind", ("question", "handoff")),
    sa.CheckConstraint("boards >= 0 AND rounds >= 1", name="counts"),
)
index("broadcasts_by_age", broadcasts.c.created_at, broadcasts.c.id)
index("broadcasts_user", broadcasts.c.user_id, broadcasts.c.created_at)
index("broadcasts_open", broadcasts.c.id, where="settled_at IS NULL")
index("broadcasts_settled", broadcasts.c.settled_at, where="settled_at IS NOT NULL")
index(
    "broadcasts_gateway",
    broadcasts.c.gateway_id,
    broadcasts.c.created_at,
    broadcasts.c.id,
    where="gateway_id IS NOT NULL AND length(id) > 0",
)

questions = table(
    "questions",
    key("id"),
    reference("user_id", "users.id", ondelete="CASCADE"),
    reference("board_id", "boards.id", ondelete="SET NULL", nullable=True),
    sa.Column("from_agent_id", sa.Text),
    text("actor"),
    text("content"),
    sa.Column("preferred_channel", sa.Text),
    sa.Column("correlation_id", sa.Text),
    doc("reply_tags", "[]"),
    sa.Column("reply_source", sa.Text),
    text("trace_id"),
    sa.Column("state", Choice(QuestionState), nullable=False, server_default=sa.text("'open'")),
    sa.Column("answer", sa.Text),
    sa.Column("answered_by", sa.Text),
    sa.Column("memory_id", sa.Text),
    sa.Column("message_id", sa.Text),
    sa.Column("dedupe_key", sa.Text, unique=True),
    number("created_at"),
    number("expires_at", info=waits("state = 'open'")),
    sa.Column("settled_at", Int),
    one_of("state", QuestionState),
    sa.CheckConstraint("(state = 'open') = (settled_at IS NULL)", name="settled_at"),
    sa.CheckConstraint(
        "(state = 'answered') = (answer IS NOT NULL AND answered_by IS NOT NULL)", name="answered"
    ),
)
index("questions_by_age", questions.c.created_at, questions.c.id)
index("questions_user", questions.c.user_id, questions.c.created_at)
# Includes the state, so that SQLite prefers it to the index above.
index(
    "questions_waiting",
    questions.c.user_id,
    questions.c.state,
    questions.c.expires_at,
    where="state = 'open'",
)
index("questions_settled", questions.c.settled_at, where="settled_at IS NOT NULL")
index("questions_message", questions.c.message_id, where="message_id IS NOT NULL")
index("questions_state", questions.c.state, questions.c.created_at, questions.c.id, where="length(id) > 0")
index(
    "questions_board",
    questions.c.board_id,
    questions.c.created_at,
    questions.c.id,
    where="board_id IS NOT NULL AND length(id) > 0",
)
index(
    "questions_correlation",
    questions.c.correlation_id,
    questions.c.created_at,
    questions.c.id,
    where="correlation_id IS NOT NULL AND length(id) > 0",
)

question_tellings = table(
    "question_tellings",
    key("question_id", of="questions.id"),
    key("device_id", of="devices.id"),
    number("asked_at"),
    sa.Column("closed_at", Int),
    rowid=False,
)
index("question_tellings_device", question_tellings.c.device_id)

_unsettled = waits("settled_at IS NULL")
messages = table(
    "messages",
    key("id"),
    reference("user_id", "users.id", ondelete="CASCADE"),
    sa.Column("kind", Choice(MessageKind), nullable=False),
    reference("board_id", "boards.id", ondelete="SET NULL", nullable=True),
    reference("broadcast_id", "broadcasts.id", ondelete="SET NULL", nullable=True),
    sa.Column("from_agent_id", sa.Text),
    text("actor"),
    reference("to_agent_id", "agents.id", ondelete="SET NULL", nullable=True),
    sa.Column("to_lead", Flag, nullable=False, server_default=sa.false()),
    reference("gateway_id", "gateways.id", ondelete="SET NULL", nullable=True),
    reference("device_id", "devices.id", ondelete="SET NULL", nullable=True),
    text("content"),
    sa.Column("deliver", Flag, nullable=False, server_default=sa.false()),
    sa.Column("queue_mode", sa.Text),
    sa.Column("correlation_id", sa.Text),
    sa.Column("reply_to", sa.Text),
    sa.Column("question_id", sa.Text),
    doc("reply_tags", "[]"),
    sa.Column("reply_source", sa.Text),
    text("trace_id"),
    sa.Column("state", Choice(MessageState), nullable=False, server_default=sa.text("'waiting'")),
    number("attempt", 1),
    number("sends", 0),
    number("version", 1),
    sa.Column("lease_boot_id", sa.Text),
    sa.Column("reason_code", sa.Text),
    sa.Column("reason", Reported),
    sa.Column("answer", sa.Text),
    sa.Column("memory_id", sa.Text),
    sa.Column("dedupe_key", sa.Text, unique=True),
    number("not_before", info=_unsettled),
    number("expires_at", info=_unsettled),
    number("created_at", info=waits("settled_at IS NULL", happened=True)),
    number("updated_at", info=waits("settled_at IS NULL", happened=True)),
    sa.Column("settled_at", Int),
    one_of("kind", MessageKind),
    one_of("state", MessageState),
    one_of("queue_mode", QueueMode, or_null=True),
    zero_or_one("to_lead"),
    zero_or_one("deliver"),
    sa.CheckConstraint("attempt >= 1 AND sends >= 0", name="counts"),
    sa.CheckConstraint(
        "state NOT IN ('answered', 'failed', 'expired') OR settled_at IS NOT NULL", name="settled_at"
    ),
    sa.CheckConstraint("state <> 'answered' OR answer IS NOT NULL", name="answered"),
    sa.CheckConstraint("state <> 'failed' OR reason_code IS NOT NULL", name="failed"),
)
index("messages_agent", messages.c.to_agent_id, messages.c.created_at, where="settled_at IS NULL")
index("messages_due", messages.c.gateway_id, messages.c.not_before, messages.c.id, where="settled_at IS NULL")
index("messages_expiring", messages.c.expires_at, where="settled_at IS NULL")
index("messages_open", messages.c.user_id, messages.c.settled_at, where="settled_at IS NULL")
index("messages_by_age", messages.c.created_at, messages.c.id)
index("messages_user", messages.c.user_id, messages.c.created_at, messages.c.id)
index("messages_board", messages.c.board_id, messages.c.created_at, where="board_id IS NOT NULL")
index(
    "messages_broadcast",
    messages.c.broadcast_id,
    messages.c.board_id,
    where="broadcast_id IS NOT NULL",
    unique=True,
)
index("messages_settled", messages.c.settled_at, where="settled_at IS NOT NULL")
index("messages_state", messages.c.state, messages.c.created_at, messages.c.id, where="length(id) > 0")
index(
    "messages_to",
    messages.c.to_agent_id,
    messages.c.created_at,
    messages.c.id,
    where="to_agent_id IS NOT NULL AND length(id) > 0",
)
index(
    "messages_from",
    messages.c.from_agent_id,
    messages.c.created_at,
    messages.c.id,
    where="from_agent_id IS NOT NULL AND length(id) > 0",
)
index(
    "messages_correlation",
    messages.c.correlation_id,
    messages.c.created_at,
    messages.c.id,
    where="correlation_id IS NOT NULL AND length(id) > 0",
)

message_moves = table(
    "message_moves",
    key("message_id", of="messages.id"),
    sa.Column("seq", Int, primary_key=True),
    sa.Column("old_state", Choice(MessageState)),
    sa.Column("new_state", Choice(MessageState), nullable=False),
    number("attempt"),
    doc("proof", "{}"),
    sa.Column("reason", Reported),
    number("at"),
    one_of("old_state", MessageState, or_null=True),
    one_of("new_state", MessageState),
    rowid=False,
)

soul_writes = table(
    "soul_writes",
    key("id"),
    reference("agent_id", "agents.id", ondelete="CASCADE"),
    sa.Column("board_id", sa.Text),
    text("content"),
    text("sha256"),
    sa.Column("expected_sha256", sa.Text),
    sa.Column("found_sha256", sa.Text),
    sa.Column("state", Choice(SoulWriteState), nullable=False, server_default=sa.text("'waiting'")),
    number("sends", 0),
    sa.Column("reason_code", sa.Text),
    sa.Column("problem", Reported),
    sa.Column("reason", Reported),
    sa.Column("source_url", sa.Text),
    sa.Column("from_agent_id", sa.Text),
    text("actor"),
    sa.Column("correlation_id", sa.Text),
    text("trace_id"),
    sa.Column("dedupe_key", sa.Text, unique=True),
    number("not_before", info=_unsettled),
    number("created_at"),
    sa.Column("settled_at", Int),
    one_of("state", SoulWriteState),
    sa.CheckConstraint("(state = 'waiting') = (settled_at IS NULL)", name="settled_at"),
)
index("soul_writes_open", soul_writes.c.agent_id, where="state = 'waiting'", unique=True)
index("soul_writes_agent", soul_writes.c.agent_id, soul_writes.c.created_at)

soul_versions = table(
    "soul_versions",
    key("agent_id", of="agents.id"),
    sa.Column("seq", Int, primary_key=True),
    text("kind"),
    text("content"),
    text("sha256"),
    number("size_bytes"),
    sa.Column("write_id", sa.Text),
    text("actor"),
    sa.Column("reason", Reported),
    sa.Column("source_url", sa.Text),
    number("at"),
    one_of("kind", ("written", "seen", "refused")),
    rowid=False,
)
