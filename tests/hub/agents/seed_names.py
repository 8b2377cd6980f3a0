"""Every name of the calendar, the orchestrator and the foundation seed, as they spell it.

Written off the seeds by hand; the mapping in ``hub/agents/vocabularies`` is not looked at here.
"""

from protocol.vocabularies import Vocabulary


def _of(table: str, names: str) -> list[str]:
    return [f"{table}.{name}" for name in names.split()]


CALENDAR = [
    *_of("AgentStatus", "idle on_call busy exhausted offline"),
    *_of("ExhaustReason", "rate_limit billing"),
    *_of(
        "agents",
        "id user_id agent_id claw_identifier status last_heartbeat exhausted_at recovery_at"
        " exhaust_reason created_at user",
    ),
    "agents primary key (id)",
    "agents.user_id unique",
    "agents.user_id foreign key users.id",
    "agents.agent_id unique",
    "agents not null (user_id, agent_id, claw_identifier, status)",
    "agents.status default idle",
    "ix agents.id",
    "ix agents.user_id",
    "ix agents.agent_id",
]
_STATES = "CREATED INITIALIZING READY ACTIVE PAUSED ERROR TERMINATED"
_RUNS = "QUEUED PREPARING RUNNING PAUSED COMPLETED FAILED CANCELLED"
ORCHESTRATOR = [
    *_of("AgentState", _STATES),
    *_of("AgentStateDetail", _STATES),
    *_of("ExecutionState", _RUNS),
    *_of(
        "AgentType (local)",
        "RESEARCHER PLANNER DEVELOPER REVIEWER MANAGER SPECIALIST TOOL_CURATOR DEPLOYMENT AUDITOR CUSTOM",
    ),
    *_of("AgentStatus", "INACTIVE ACTIVE BUSY ERROR MAINTENANCE"),
    *_of("AgentType", "COORDINATOR ASSISTANT RESEARCHER DEVELOPER DESIGNER SPECIALIST AUDITOR CUSTOM"),
    *_of(
        "agent",
        "id name description type status state_detail state project_id template_id configuration"
        " prompt_template created_at updated_at",
    ),
    *_of(
        "agent_template",
        "id name description agent_type configuration_schema default_configuration prompt_template"
        " created_at updated_at",
    ),
    *_of(
        "agent_state_history",
        "id agent_id previous_status new_status previous_state_detail new_state_detail reason timestamp",
    ),
    *_of("agent_checkpoint", "id agent_id state_data sequence_number is_recoverable created_at"),
    *_of(
        "agent_execution",
        "id agent_id task_id state parameters context progress_percentage status_message result"
        " error_message retry_count created_at updated_at started_at completed_at",
    ),
    *_of("execution_state_history", "id execution_id previous_state new_state reason timestamp"),
    "agent_type_check",
    "agent_status_check",
    "agent_state_detail_check",
    "agent_template_agent_type_check",
    "agent_state_history_previous_status_check",
    "agent_state_history_new_status_check",
    "agent_state_history_previous_state_detail_check",
    "agent_state_history_new_state_detail_check",
    "agent_execution_state_check",
    "execution_state_history_previous_state_check",
    "execution_state_history_new_state_check",
    "agent_checkpoint.agent_id unique",
    "agent_state_history.agent_id foreign key ON DELETE CASCADE",
    "agent_checkpoint.agent_id foreign key ON DELETE CASCADE",
    "agent_execution.agent_id foreign key ON DELETE CASCADE",
    "execution_state_history.execution_id foreign key ON DELETE CASCADE",
    "agent_state_history_agent_id_idx",
    "agent_state_history_timestamp_idx",
    "agent_checkpoint_agent_id_idx",
    "agent_execution_agent_id_idx",
    "agent_execution_task_id_idx",
    "execution_state_history_execution_id_idx",
    "execution_state_history_timestamp_idx",
    "agent primary key (id)",
    "agent_template primary key (id)",
    "agent_state_history primary key (id)",
    "agent_checkpoint primary key (id)",
    "agent_execution primary key (id)",
    "execution_state_history primary key (id)",
    "agent not null (name, type, status, project_id, created_at, updated_at)",
    "agent_template not null (name, agent_type, configuration_schema, default_configuration,"
    " created_at, updated_at)",
    "agent_state_history not null (agent_id, new_status, timestamp)",
    "agent_checkpoint not null (agent_id, state_data, sequence_number, is_recoverable, created_at)",
    "agent_execution not null (agent_id, task_id, state, progress_percentage, retry_count,"
    " created_at, updated_at)",
    "execution_state_history not null (execution_id, new_state, timestamp)",
    "agent.status default INACTIVE",
    "agent_template.configuration_schema default {}",
    "agent_template.default_configuration default {}",
    "agent_checkpoint.sequence_number default 0",
    "agent_checkpoint.is_recoverable default true",
    "agent_execution.state default QUEUED",
    "agent_execution.progress_percentage default 0.0",
    "agent_execution.retry_count default 0",
    "lengths (name 100, description any, type 20, status 20, state_detail 20, template_id 50)",
]
FOUNDATION = [
    *_of("ConfigType", "string integer float boolean json"),
    *_of("AgentStatusDetail", "idle busy processing waiting error"),
    *_of("MetricType", "counter gauge histogram"),
    *_of(
        "agent_configs", "id agent_id config_key config_value config_type description created_at updated_at"
    ),
    *_of(
        "agent_states",
        "id agent_id current_status active_workflows locks last_activity resource_usage metadata"
        " created_at updated_at",
    ),
    *_of(
        "agent_capabilities",
        "id agent_id capability_name capability_version enabled config description created_at updated_at",
    ),
    *_of("agent_metrics", "id agent_id metric_name metric_value metric_type tags recorded_at"),
    "uq_agent_config",
    "uq_agent_capability",
    "agent_states.agent_id unique",
    "agent_configs.agent_id foreign key ON DELETE CASCADE",
    "agent_states.agent_id foreign key ON DELETE CASCADE",
    "agent_capabilities.agent_id foreign key ON DELETE CASCADE",
    "agent_metrics.agent_id foreign key ON DELETE CASCADE",
    "enum configtype",
    "enum agentstatusdetail",
    "enum metrictype",
    "idx_agent_config_agent",
    "idx_agent_config_key",
    "idx_agent_config_agent_key",
    "idx_agent_state_agent",
    "idx_agent_state_status",
    "idx_agent_state_activity",
    "idx_agent_cap_agent",
    "idx_agent_cap_name",
    "idx_agent_cap_enabled",
    "idx_agent_cap_agent_name",
    "idx_agent_metric_agent",
    "idx_agent_metric_name",
    "idx_agent_metric_recorded",
    "idx_agent_metric_agent_name",
    "idx_agent_metric_agent_recorded",
    "agent_configs primary key (id)",
    "agent_states primary key (id)",
    "agent_capabilities primary key (id)",
    "agent_metrics primary key (id)",
    "agent_configs not null (agent_id, config_key, config_value, config_type, created_at, updated_at)",
    "agent_states not null (agent_id, current_status, active_workflows, locks, last_activity,"
    " created_at, updated_at)",
    "agent_capabilities not null (agent_id, capability_name, capability_version, enabled,"
    " created_at, updated_at)",
    "agent_metrics not null (agent_id, metric_name, metric_value, metric_type, recorded_at)",
    "agent_configs.config_type default string",
    "agent_states.current_status default idle",
    "agent_states.active_workflows default []",
    "agent_states.locks default {}",
    "agent_states.resource_usage default {}",
    "agent_states.metadata default {}",
    "agent_capabilities.capability_version default 1.0.0",
    "agent_capabilities.enabled default true",
    "agent_capabilities.config default {}",
    "agent_metrics.metric_type default gauge",
    "agent_metrics.tags default {}",
    "lengths (config_key 255, capability_name 255, capability_version 50, metric_name 255)",
]
SEED_NAMES: dict[Vocabulary, list[str]] = {
    Vocabulary.CALENDAR: CALENDAR,
    Vocabulary.ORCHESTRATOR: ORCHESTRATOR,
    Vocabulary.FOUNDATION: FOUNDATION,
}
