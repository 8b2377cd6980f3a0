"""Every value and column of a seed, as it spells it; of the run log, see the tests of its outcomes.

Written off the seeds by hand; the tables in ``hub/agents/vocabularies.py`` are not looked at here.
"""

from protocol.status_vocabularies import Vocabulary


def _of(table: str, names: str) -> list[str]:
    return [f"{table}.{name}" for name in names.split()]


CALENDAR = [
    *_of("AgentStatus", "idle on_call busy exhausted offline"),
    *_of("ExhaustReason", "rate_limit billing"),
    *_of(
        "agents",
        "id user_id agent_id claw_identifier status last_heartbeat exhausted_at recovery_at"
        " exhaust_reason created_at",
    ),
]
_STATES = "CREATED INITIALIZING READY ACTIVE PAUSED ERROR TERMINATED"
_RUNS = "QUEUED PREPARING RUNNING PAUSED COMPLETED FAILED CANCELLED"
ORCHESTRATOR = [
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
        "id name description type status state_detail project_id template_id configuration"
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
]
COORDINATION = [
    *_of("agents", "id name board_id gateway_id openclaw_session_id updated_at"),
    *_of("soul", "soul_template"),
    *_of("boards", "id name gateway_id created_at"),
    *_of("activity_events", "event_type message agent_id"),
    *_of("event_type.agent", "nudge.sent nudge.failed soul.updated"),
    *_of("event_type.gateway.lead", "ask_user.sent ask_user.failed"),
    *_of("event_type.gateway.main", "lead_message.sent lead_message.failed lead_broadcast.sent"),
    *_of("NudgeBody", "message correlation_id"),
    *_of("LeadMessageBody", "kind content correlation_id reply_tags reply_source"),
    *_of("BroadcastBody", "kind content correlation_id reply_tags reply_source board_ids"),
    *_of("AskBody", "content correlation_id preferred_channel reply_tags reply_source"),
    *_of("NewSoul", "content reason source_url correlation_id"),
]
SEED_NAMES: dict[Vocabulary, list[str]] = {
    Vocabulary.CALENDAR: CALENDAR,
    Vocabulary.ORCHESTRATOR: ORCHESTRATOR,
    Vocabulary.FOUNDATION: FOUNDATION,
    Vocabulary.COORDINATION: COORDINATION,
}
