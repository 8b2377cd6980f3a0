"""Names of the orchestrator seed: agents with templates, their executions and checkpoints."""

from typing import Final

from hub.agents.vocabularies.places import (
    CHECKPOINT,
    CONFIG,
    HUB,
    PATCH_AGENT,
    RUN_MOVES,
    RUN_REPORT,
    RUN_START,
    TEMPLATE,
    Chapter,
    Place,
    place,
    same,
    words,
)
from protocol.vocabularies import ORCHESTRATOR_STATUS, STATE_DETAIL, Vocabulary

ORCHESTRATOR: Final = (
    Chapter(Vocabulary.ORCHESTRATOR, "AgentStatus (shared)", "value", words(ORCHESTRATOR_STATUS)),
    Chapter(Vocabulary.ORCHESTRATOR, "AgentStateDetail", "value", words(STATE_DETAIL)),
    Chapter(
        Vocabulary.ORCHESTRATOR,
        "AgentState (local, before its standardization)",
        "value",
        tuple(
            place._replace(name=place.name.replace("AgentStateDetail", "AgentState"))
            for place in words(STATE_DETAIL)
        ),
    ),
    Chapter(
        Vocabulary.ORCHESTRATOR,
        "AgentType (shared)",
        "value",
        same(
            "AgentType",
            "agents.type",
            "COORDINATOR ASSISTANT RESEARCHER DEVELOPER DESIGNER SPECIALIST AUDITOR CUSTOM",
            "`type`, as stored",
            PATCH_AGENT,
        ),
    ),
    Chapter(
        Vocabulary.ORCHESTRATOR,
        "AgentType (local)",
        "value",
        (
            *same(
                "AgentType (local)",
                "agents.type",
                "RESEARCHER DEVELOPER SPECIALIST AUDITOR CUSTOM",
                "`local_type`: the shared type of that name; CUSTOM also for ASSISTANT and DESIGNER",
                PATCH_AGENT,
            ),
            *(
                Place(
                    f"AgentType (local).{own}",
                    ("agents.type", "agents.subtype"),
                    f"`local_type`: `subtype` as it was written; `type` is {shared}",
                    PATCH_AGENT,
                )
                for own, shared in (
                    ("PLANNER", "COORDINATOR"),
                    ("MANAGER", "COORDINATOR"),
                    ("REVIEWER", "AUDITOR"),
                    ("TOOL_CURATOR", "SPECIALIST"),
                    ("DEPLOYMENT", "SPECIALIST"),
                )
            ),
        ),
    ),
    Chapter(
        Vocabulary.ORCHESTRATOR,
        "ExecutionState",
        "value",
        same(
            "ExecutionState",
            "runs.state",
            "QUEUED PREPARING RUNNING PAUSED COMPLETED FAILED CANCELLED",
            "as stored",
            RUN_MOVES,
        ),
    ),
    Chapter(
        Vocabulary.ORCHESTRATOR,
        "agent",
        "column",
        (
            place("agent.id", "agents.id", "as stored", HUB),
            place("agent.name", "agents.name", "as stored", PATCH_AGENT),
            place("agent.description", "agents.description", "as stored", PATCH_AGENT),
            place(
                "agent.type",
                "agents.type agents.subtype",
                "the shared type; `local_type` is the local one",
                PATCH_AGENT,
            ),
            place(
                "agent.status",
                "agent_states.health agent_states.lifecycle",
                "by the rules of AgentStatus above",
                "PATCH of `status`, as its values say",
            ),
            place(
                "agent.state_detail",
                "agent_states.health agent_states.lifecycle",
                "by the rules of AgentStateDetail above",
                "PATCH of `state_detail`, as its values say",
            ),
            place(
                "agent.state",
                "agent_states.health agent_states.lifecycle",
                "`state_detail`, which took its place in the seed",
                "write `state_detail`",
            ),
            place("agent.project_id", "agents.project_id", "as stored", PATCH_AGENT),
            place("agent.template_id", "agents.template_id", "as stored", PATCH_AGENT),
            place(
                "agent.configuration",
                "agent_configs.config_value agent_templates.default_configuration",
                "one object: the agent's configs over the defaults of its template",
                CONFIG,
            ),
            place("agent.prompt_template", "agents.prompt_template", "its own prompt", PATCH_AGENT),
            place("agent.created_at", "agents.created_at", "as stored", HUB),
            place("agent.updated_at", "agents.updated_at", "as stored", HUB),
        ),
    ),
    Chapter(
        Vocabulary.ORCHESTRATOR,
        "agent_template",
        "column",
        tuple(
            place(f"agent_template.{column}", f"agent_templates.{column}", "as stored", written)
            for column, written in (
                ("id", HUB),
                ("name", TEMPLATE),
                ("description", TEMPLATE),
                ("agent_type", TEMPLATE),
                ("configuration_schema", TEMPLATE),
                ("default_configuration", TEMPLATE),
                ("prompt_template", TEMPLATE),
                ("created_at", HUB),
                ("updated_at", HUB),
            )
        ),
    ),
    Chapter(
        Vocabulary.ORCHESTRATOR,
        "agent_state_history",
        "column",
        (
            place(
                "agent_state_history.id",
                "agent_state_history.agent_id agent_state_history.seq",
                "both, joined",
                HUB,
            ),
            place("agent_state_history.agent_id", "agent_state_history.agent_id", "as stored", HUB),
            *(
                place(
                    f"agent_state_history.{column}",
                    "agent_state_history.snapshot agent_state_history.old_value",
                    "by the rules, from the axes as the move found and left them; moves that changed"
                    " neither word are left out",
                    "the moves themselves",
                )
                for column in ("previous_status", "new_status", "previous_state_detail", "new_state_detail")
            ),
            place(
                "agent_state_history.reason", "agent_state_history.reason", "as stored", "`reason` of a write"
            ),
            place("agent_state_history.timestamp", "agent_state_history.at", "as stored", HUB),
        ),
    ),
    Chapter(
        Vocabulary.ORCHESTRATOR,
        "agent_checkpoint",
        "column",
        (
            place("agent_checkpoint.id", "checkpoints.agent_id checkpoints.scope", "both, joined", HUB),
            place("agent_checkpoint.agent_id", "checkpoints.agent_id", "of the scope `agent`", CHECKPOINT),
            place("agent_checkpoint.state_data", "checkpoints.state_data", "as stored", CHECKPOINT),
            place(
                "agent_checkpoint.sequence_number",
                "checkpoints.sequence_number",
                "as stored; only grows",
                CHECKPOINT,
            ),
            place("agent_checkpoint.is_recoverable", "checkpoints.is_recoverable", "as stored", CHECKPOINT),
            place("agent_checkpoint.created_at", "checkpoints.created_at", "as stored", HUB),
        ),
    ),
    Chapter(
        Vocabulary.ORCHESTRATOR,
        "agent_execution",
        "column",
        (
            place("agent_execution.id", "runs.id", "as stored", HUB),
            place("agent_execution.agent_id", "runs.agent_id", "as stored", RUN_START),
            place(
                "agent_execution.task_id",
                "runs.context runs.id",
                "`task_id` of the context, else the run's id",
                RUN_START,
            ),
            place("agent_execution.state", "runs.state", "as stored", RUN_MOVES),
            place("agent_execution.parameters", "runs.parameters", "as stored", RUN_START),
            place("agent_execution.context", "runs.context", "as stored", RUN_START),
            place("agent_execution.progress_percentage", "runs.progress", "as stored, 0 to 100", RUN_REPORT),
            place("agent_execution.status_message", "runs.status_message", "as stored", RUN_REPORT),
            place("agent_execution.result", "runs.result", "as stored", "the run's end"),
            place(
                "agent_execution.error_message",
                "runs.errors",
                "the first of them",
                "what goes wrong in the run",
            ),
            place(
                "agent_execution.retry_count", "runs.attempt", "`attempt` - 1", "another attempt of the run"
            ),
            place("agent_execution.created_at", "runs.created_at", "as stored", HUB),
            place("agent_execution.updated_at", "runs.updated_at", "as stored", HUB),
            place("agent_execution.started_at", "runs.started_at", "as stored", RUN_MOVES),
            place("agent_execution.completed_at", "runs.completed_at", "as stored", RUN_MOVES),
        ),
    ),
    Chapter(
        Vocabulary.ORCHESTRATOR,
        "execution_state_history",
        "column",
        (
            place(
                "execution_state_history.id",
                "run_state_history.run_id run_state_history.seq",
                "both, joined",
                HUB,
            ),
            place("execution_state_history.execution_id", "run_state_history.run_id", "as stored", HUB),
            place(
                "execution_state_history.previous_state",
                "run_state_history.old_state",
                "as stored",
                RUN_MOVES,
            ),
            place("execution_state_history.new_state", "run_state_history.new_state", "as stored", RUN_MOVES),
            place("execution_state_history.reason", "run_state_history.reason", "as stored", RUN_MOVES),
            place("execution_state_history.timestamp", "run_state_history.at", "as stored", HUB),
        ),
    ),
    Chapter(
        Vocabulary.ORCHESTRATOR,
        "all tables",
        "constraint",
        (
            place(
                "agent_type_check",
                "agents.type agents.subtype",
                "kept as CHECK of `type` and `subtype`",
                PATCH_AGENT,
            ),
            place(
                "agent_status_check",
                "agent_states.lifecycle agent_states.health",
                "kept as CHECKs of the axes; the word is derived, so it is never another one",
                "a value that there is not is refused with those there are",
            ),
            place(
                "agent_state_detail_check",
                "agent_states.lifecycle agent_states.health",
                "kept as CHECKs of the axes; the word is derived, so it is never another one",
                "a value that there is not is refused with those there are",
            ),
            place("agent_template_agent_type_check", "agent_templates.agent_type", "kept as CHECK", TEMPLATE),
            *(
                place(
                    f"agent_state_history_{column}_check",
                    "agent_state_history.axis agent_state_history.snapshot",
                    "derived from the axes, whose values are checked",
                    "the moves themselves",
                )
                for column in ("previous_status", "new_status", "previous_state_detail", "new_state_detail")
            ),
            place("agent_execution_state_check", "runs.state", "kept as CHECK", RUN_MOVES),
            place(
                "execution_state_history_previous_state_check",
                "run_state_history.old_state",
                "the state that the move before it led to",
                RUN_MOVES,
            ),
            place(
                "execution_state_history_new_state_check",
                "run_state_history.new_state",
                "kept as CHECK",
                RUN_MOVES,
            ),
            place(
                "agent_checkpoint.agent_id unique",
                "checkpoints.agent_id checkpoints.scope",
                "kept for each scope: the primary key (agent_id, scope)",
                CHECKPOINT,
            ),
            *(
                place(f"{theirs} foreign key ON DELETE CASCADE", ours, "kept", HUB)
                for theirs, ours in (
                    ("agent_state_history.agent_id", "agent_state_history.agent_id"),
                    ("agent_checkpoint.agent_id", "checkpoints.agent_id"),
                    ("agent_execution.agent_id", "runs.agent_id"),
                    ("execution_state_history.execution_id", "run_state_history.run_id"),
                )
            ),
        ),
    ),
    Chapter(
        Vocabulary.ORCHESTRATOR,
        "all tables",
        "index",
        (
            place(
                "agent_state_history_agent_id_idx",
                "agent_state_history.agent_id",
                "the primary key (agent_id, seq)",
                HUB,
            ),
            place(
                "agent_state_history_timestamp_idx", "agent_state_history.at", "agent_state_history_at", HUB
            ),
            place(
                "agent_checkpoint_agent_id_idx",
                "checkpoints.agent_id",
                "the primary key (agent_id, scope)",
                HUB,
            ),
            place(
                "agent_execution_agent_id_idx",
                "runs.agent_id",
                "the index of UNIQUE (agent_id, fire_key)",
                HUB,
            ),
            place(
                "agent_execution_task_id_idx",
                "runs.context",
                "none: a task is found by its runs' agent",
                HUB,
            ),
            place(
                "execution_state_history_execution_id_idx",
                "run_state_history.run_id",
                "the primary key (run_id, seq)",
                HUB,
            ),
            place(
                "execution_state_history_timestamp_idx",
                "run_state_history.at",
                "none: a history is read by its run",
                HUB,
            ),
        ),
    ),
)
