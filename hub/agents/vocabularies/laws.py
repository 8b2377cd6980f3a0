"""Constraints and defaults of the tables of the orchestrator and the foundation seed."""

from typing import Final

from hub.agents.vocabularies.places import (
    CAPABILITY,
    CHECKPOINT,
    CONFIG,
    HUB,
    METRIC,
    PATCH_AGENT,
    RUN_START,
    TEMPLATE,
    Chapter,
    place,
)
from protocol.vocabularies import Vocabulary

STORED: Final = "kept"
NOT_WRITTEN: Final = "a write of null is refused"

LAWS: Final = (
    Chapter(
        Vocabulary.ORCHESTRATOR,
        "all tables: keys, what is never null, defaults, lengths",
        "constraint",
        (
            place("agent primary key (id)", "agents.id", STORED, HUB),
            place("agent_template primary key (id)", "agent_templates.id", STORED, HUB),
            place(
                "agent_state_history primary key (id)",
                "agent_state_history.agent_id agent_state_history.seq",
                "(agent_id, seq): a move is the next of its agent",
                HUB,
            ),
            place(
                "agent_checkpoint primary key (id)",
                "checkpoints.agent_id checkpoints.scope",
                "(agent_id, scope): one for each scope",
                HUB,
            ),
            place("agent_execution primary key (id)", "runs.id", STORED, HUB),
            place(
                "execution_state_history primary key (id)",
                "run_state_history.run_id run_state_history.seq",
                "(run_id, seq): a move is the next of its run",
                HUB,
            ),
            place(
                "agent not null (name, type, status, project_id, created_at, updated_at)",
                "agents.name agents.type agent_states.lifecycle agents.created_at agents.updated_at",
                "kept, but for `project_id`: an agent need not belong to a project",
                PATCH_AGENT,
            ),
            place(
                "agent_template not null (name, agent_type, configuration_schema, default_configuration,"
                " created_at, updated_at)",
                "agent_templates.name agent_templates.agent_type agent_templates.configuration_schema"
                " agent_templates.default_configuration agent_templates.created_at"
                " agent_templates.updated_at",
                STORED,
                TEMPLATE,
            ),
            place(
                "agent_state_history not null (agent_id, new_status, timestamp)",
                "agent_state_history.agent_id agent_state_history.new_value agent_state_history.at",
                STORED,
                "the moves themselves",
            ),
            place(
                "agent_checkpoint not null (agent_id, state_data, sequence_number, is_recoverable,"
                " created_at)",
                "checkpoints.agent_id checkpoints.state_data checkpoints.sequence_number"
                " checkpoints.is_recoverable checkpoints.created_at",
                STORED,
                CHECKPOINT,
            ),
            place(
                "agent_execution not null (agent_id, task_id, state, progress_percentage, retry_count,"
                " created_at, updated_at)",
                "runs.agent_id runs.context runs.state runs.progress runs.attempt runs.created_at"
                " runs.updated_at",
                "kept; `task_id` is the run's id where the context names none",
                RUN_START,
            ),
            place(
                "execution_state_history not null (execution_id, new_state, timestamp)",
                "run_state_history.run_id run_state_history.new_state run_state_history.at",
                STORED,
                "the moves of the run table",
            ),
            place(
                "agent.status default INACTIVE",
                "agent_states.lifecycle",
                "kept: an agent begins as `created`, and is read so",
                "the hub, when the agent is made",
            ),
            place(
                "agent_template.configuration_schema default {}",
                "agent_templates.configuration_schema",
                STORED,
                TEMPLATE,
            ),
            place(
                "agent_template.default_configuration default {}",
                "agent_templates.default_configuration",
                STORED,
                TEMPLATE,
            ),
            place(
                "agent_checkpoint.sequence_number default 0",
                "checkpoints.sequence_number",
                "kept in the table; a write says its number, or it could not be held against the last",
                CHECKPOINT,
            ),
            place(
                "agent_checkpoint.is_recoverable default true",
                "checkpoints.is_recoverable",
                STORED,
                CHECKPOINT,
            ),
            place("agent_execution.state default QUEUED", "runs.state", STORED, RUN_START),
            place("agent_execution.progress_percentage default 0.0", "runs.progress", STORED, RUN_START),
            place(
                "agent_execution.retry_count default 0",
                "runs.attempt",
                "kept: `attempt` begins at 1",
                RUN_START,
            ),
            place(
                "lengths (name 100, description any, type 20, status 20, state_detail 20, template_id 50)",
                "agents.name agents.type agents.template_id",
                "text without a length; names are bounded where they come in, and words by their CHECKs",
                "one that is too long is refused with the bound",
            ),
        ),
    ),
    Chapter(
        Vocabulary.FOUNDATION,
        "all tables: keys, what is never null, defaults, lengths",
        "constraint",
        (
            place(
                "agent_configs primary key (id)",
                "agent_configs.agent_id agent_configs.config_key",
                "(agent_id, config_key)",
                HUB,
            ),
            place("agent_states primary key (id)", "agent_states.agent_id", "(agent_id)", HUB),
            place(
                "agent_capabilities primary key (id)",
                "agent_capabilities.agent_id agent_capabilities.name",
                "(agent_id, name, and the four of the version)",
                HUB,
            ),
            place(
                "agent_metrics primary key (id)",
                "agent_metrics.series_id agent_metrics.bucket_ms agent_metrics.bucket_at",
                "(series_id, bucket_ms, bucket_at)",
                HUB,
            ),
            place(
                "agent_configs not null (agent_id, config_key, config_value, config_type, created_at,"
                " updated_at)",
                "agent_configs.agent_id agent_configs.config_key agent_configs.config_value"
                " agent_configs.config_type agent_configs.created_at agent_configs.updated_at",
                STORED,
                f"{CONFIG}; null is a value of the type json alone",
            ),
            place(
                "agent_states not null (agent_id, current_status, active_workflows, locks, last_activity,"
                " created_at, updated_at)",
                "agent_states.agent_id agent_states.health agent_states.availability"
                " agent_states.last_activity_at agent_states.updated_at",
                "kept; what is derived is never null, and empty where there is nothing",
                NOT_WRITTEN,
            ),
            place(
                "agent_capabilities not null (agent_id, capability_name, capability_version, enabled,"
                " created_at, updated_at)",
                "agent_capabilities.agent_id agent_capabilities.name agent_capabilities.ver_major"
                " agent_capabilities.enabled agent_capabilities.created_at agent_capabilities.updated_at",
                STORED,
                CAPABILITY,
            ),
            place(
                "agent_metrics not null (agent_id, metric_name, metric_value, metric_type, recorded_at)",
                "metric_series.agent_id metric_series.name agent_metrics.last metric_series.metric_type"
                " agent_metrics.last_at",
                STORED,
                METRIC,
            ),
            place(
                "agent_configs.config_type default string",
                "agent_configs.config_type",
                "kept in the table; a write without a type keeps the one there is, or gets its value's",
                CONFIG,
            ),
            place(
                "agent_states.current_status default idle",
                "agent_states.health agent_states.availability",
                "kept: a new agent is well, available and without runs, and is read so",
                "the hub, when the agent is made",
            ),
            place(
                "agent_states.active_workflows default []",
                "runs.id",
                "kept: it has no run at first",
                RUN_START,
            ),
            place(
                "agent_states.locks default {}",
                "agent_locks.resource",
                "kept: it holds none at first",
                "`locks.acquire` of a device, and runs",
            ),
            place(
                "agent_states.resource_usage default {}",
                "agent_states.resource_usage",
                STORED,
                "heartbeats of the device",
            ),
            place(
                "agent_states.metadata default {}",
                "agent_states.metadata",
                STORED,
                "PATCH of `metadata`: replaces it",
            ),
            place(
                "agent_capabilities.capability_version default 1.0.0",
                "agent_capabilities.ver_major",
                "not kept: a version is always said, as nobody means 1.0.0 by saying nothing",
                CAPABILITY,
            ),
            place(
                "agent_capabilities.enabled default true",
                "agent_capabilities.enabled",
                "kept, unless a newer version of the name is enabled",
                CAPABILITY,
            ),
            place("agent_capabilities.config default {}", "agent_capabilities.config", STORED, CAPABILITY),
            place(
                "agent_metrics.metric_type default gauge",
                "metric_series.metric_type",
                "kept: a new metric without a type is a gauge",
                METRIC,
            ),
            place("agent_metrics.tags default {}", "metric_series.tags", STORED, METRIC),
            place(
                "lengths (config_key 255, capability_name 255, capability_version 50, metric_name 255)",
                "agent_configs.config_key agent_capabilities.name metric_series.name",
                "255 kept as CHECKs; a version is three numbers and a pre-release, bounded where it comes in",
                "one that is too long is refused with the bound",
            ),
        ),
    ),
)
