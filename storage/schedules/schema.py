"""Tables about schedules and their fires."""

import sqlalchemy as sa

from storage.kernel.columns import (
    NOMINAL,
    Flag,
    Int,
    Reported,
    index,
    key,
    number,
    one_of,
    reference,
    table,
    text,
    zero_or_one,
)

schedules = table(
    "schedules",
    key("id"),
    reference("agent_id", "agents.id", ondelete="CASCADE"),
    text("kind"),
    sa.Column("expr", sa.Text),
    sa.Column("every_ms", Int),
    sa.Column("at_ms", Int),
    text("tz", "UTC"),
    text("action", "run"),
    sa.Column("label", sa.Text),
    sa.Column("duration_ms", Int),
    text("overlap", "skip"),
    text("coalesce_policy", "latest"),
    sa.Column("catchup_window_ms", Int),
    number("max_catchup", 10),
    sa.Column("start_deadline_ms", Int),
    number("run_timeout_ms", 3_600_000),
    number("jitter_ms", 0),
    number("max_attempts", 5),
    number("pause_after_failures", 5),
    sa.Column("enabled", Flag, nullable=False, server_default=sa.true()),
    sa.Column("paused_reason", sa.Text),
    number("consecutive_failures", 0),
    sa.Column("remaining_runs", Int),
    sa.Column("first_connect", sa.Text),  # null: a connect starts no run; see first_connects
    sa.Column("starts_at", Int, info=NOMINAL),
    sa.Column("ends_at", Int, info=NOMINAL),
    number("cursor_at", info=NOMINAL),
    sa.Column("next_fire_at", Int, info=NOMINAL),
    sa.Column("due_at", Int, info=NOMINAL),
    number("rev", 1),
    number("created_at", info=NOMINAL),
    number("updated_at"),
    one_of("kind", ("cron", "every", "at")),
    one_of("action", ("run", "wake")),
    one_of("overlap", ("skip", "queue_one", "queue_all", "cancel_running", "allow")),
    one_of("coalesce_policy", ("latest", "earliest", "all")),
    one_of("first_connect", ("awaited", "due", "done"), or_null=True),
    zero_or_one("enabled"),
    sa.CheckConstraint("every_ms IS NULL OR every_ms >= 5000", name="every_ms"),
    sa.CheckConstraint("duration_ms IS NULL OR duration_ms > 0", name="duration_ms"),
    sa.CheckConstraint("(action = 'wake') = (label IS NOT NULL AND duration_ms IS NOT NULL)", name="slot"),
    sa.CheckConstraint("catchup_window_ms IS NULL OR catchup_window_ms >= 0", name="catchup_window_ms"),
    sa.CheckConstraint("max_catchup BETWEEN 1 AND 1000", name="max_catchup"),
    sa.CheckConstraint("jitter_ms >= 0", name="jitter_ms"),
    sa.CheckConstraint("max_attempts BETWEEN 1 AND 20", name="max_attempts"),
    sa.CheckConstraint("pause_after_failures >= 0", name="pause_after_failures"),
    sa.CheckConstraint("(kind = 'cron') = (expr IS NOT NULL)", name="has_expr"),
    sa.CheckConstraint("(kind = 'every') = (every_ms IS NOT NULL)", name="has_every_ms"),
    sa.CheckConstraint("(kind = 'at') = (at_ms IS NOT NULL)", name="has_at_ms"),
    sa.CheckConstraint("next_fire_at IS NULL OR next_fire_at > cursor_at", name="next_fire_at"),
    sa.CheckConstraint("coalesce_policy <> 'all' OR catchup_window_ms IS NOT NULL", name="window"),
)
index("schedules_agent", schedules.c.agent_id)
index("schedules_due", schedules.c.due_at, where="enabled AND due_at IS NOT NULL")
index("schedules_unplanned", schedules.c.id, where="enabled AND due_at IS NULL")
index("schedules_first_connect", schedules.c.id, where="first_connect = 'due'")

schedule_fires = table(
    "schedule_fires",
    key("schedule_id", of="schedules.id"),
    sa.Column("fire_at", Int, primary_key=True),
    number("first_at", info=NOMINAL),
    number("missed_count", 0),
    text("decision"),
    sa.Column("reason", Reported),
    sa.Column("run_id", sa.Text),
    number("decided_at"),
    one_of(
        "decision",
        (
            "run",
            "coalesced",
            "skipped_overlap",
            "skipped_window",
            "skipped_paused",
            "skipped_exhausted",
            "dropped_queue_full",
            "deferred",
            "woken",
            "wake_failed",
        ),
    ),
    sa.CheckConstraint("missed_count >= 0", name="missed_count"),
    sa.CheckConstraint("first_at <= fire_at", name="first_at"),
    rowid=False,
)
index("schedule_fires_run", schedule_fires.c.run_id, where="run_id IS NOT NULL")
index("schedule_fires_decided", schedule_fires.c.decided_at)
