"""Names of the run-log seed: the result of each run of an agent."""

from typing import Final

from hub.agents.vocabularies.places import HUB, PATCH_AGENT, RUN_MOVES, RUN_START, Chapter, place
from protocol.vocabularies import Vocabulary

RUN_LOG: Final = (
    Chapter(
        Vocabulary.RUN_LOG,
        "status of a run",
        "value",
        (
            place("status.running", "runs.state", "QUEUED, PREPARING, RUNNING or PAUSED", RUN_MOVES),
            place("status.success", "runs.state runs.error_count", "COMPLETED without an error", RUN_MOVES),
            place(
                "status.partial",
                "runs.state runs.error_count runs.items_created",
                "COMPLETED with errors and at least one item: the seed counts by items",
                RUN_MOVES,
            ),
            place(
                "status.error",
                "runs.state runs.cancel_reason",
                "FAILED; CANCELLED, with the error `cancelled: REASON`; or COMPLETED with errors and no item",
                RUN_MOVES,
            ),
        ),
    ),
    Chapter(
        Vocabulary.RUN_LOG,
        "agent_type",
        "value",
        (
            place("agent_type.local", "agents.executor", "executor `device`", HUB),
            place("agent_type.cloud", "agents.executor", "executor `connector` or `gateway`", HUB),
        ),
    ),
    Chapter(
        Vocabulary.RUN_LOG,
        "agent",
        "column",
        (
            place("config.id", "agents.id", "as stored", HUB),
            place("config.name", "agents.name", "as stored", PATCH_AGENT),
            place("config.user_id", "agents.user_id", "as stored", HUB),
            place("config.agent_type", "agents.executor", "by the rules of agent_type above", HUB),
            place("config.device_id", "agents.device_id", "as stored", PATCH_AGENT),
            place(
                "config.directory_paths", "agent_configs.config_value", "`paths` of the agent", PATCH_AGENT
            ),
            place("config.file_extensions", "agent_configs.config_value", "as stored", PATCH_AGENT),
            place("config.data_types", "agents.data_types", "as stored", PATCH_AGENT),
            place(
                "config.prompt_template",
                "agents.prompt_template agent_templates.prompt_template",
                "the prompt in use",
                PATCH_AGENT,
            ),
            place(
                "config.schedule_cron", "schedules.expr", "of the agent's first cron schedule", PATCH_AGENT
            ),
            place(
                "config.last_run_at",
                "runs.completed_at",
                "the newest; the schedule's cursor is another thing",
                RUN_MOVES,
            ),
        ),
    ),
    Chapter(
        Vocabulary.RUN_LOG,
        "agent_run_log",
        "column",
        (
            place("run_log.id", "runs.id", "`run_id`, as stored", HUB),
            place("run_log.agent_id", "runs.agent_id", "as stored", RUN_START),
            place("run_log.agent_type", "agents.executor", "by the rules of agent_type above", HUB),
            place("run_log.user_id", "agents.user_id", "as stored", HUB),
            place(
                "run_log.status",
                "runs.state runs.error_count runs.items_created",
                "by the rules of status above",
                RUN_MOVES,
            ),
            place("run_log.items_processed", "runs.units_done runs.units_failed", "their sum", RUN_MOVES),
            place("run_log.items_created", "runs.items_created", "as stored", RUN_MOVES),
            place("run_log.errors", "runs.errors runs.cancel_reason", "their messages", RUN_MOVES),
            place("run_log.completed_at", "runs.completed_at", "as stored", RUN_MOVES),
        ),
    ),
)
