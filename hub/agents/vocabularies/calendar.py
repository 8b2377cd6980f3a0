"""Names of the calendar seed: one runtime status per agent, used by its calendar to wake it."""

from typing import Final

from hub.agents.vocabularies.places import HUB, PATCH_AGENT, Chapter, place, words
from protocol.vocabularies import CALENDAR_STATUS, Vocabulary

CALENDAR: Final = (
    Chapter(Vocabulary.CALENDAR, "AgentStatus", "value", words(CALENDAR_STATUS)),
    Chapter(
        Vocabulary.CALENDAR,
        "ExhaustReason",
        "value",
        (
            place(
                "ExhaustReason.rate_limit",
                "agent_states.exhaust_reason",
                "as stored",
                "the model's provider by HTTP 429, or `exhaust_reason` of a write",
            ),
            place(
                "ExhaustReason.billing",
                "agent_states.exhaust_reason",
                "as stored; `budget`, an agent's own of a day, is read as billing too",
                "the model's provider by `insufficient_quota`, or `exhaust_reason` of a write",
            ),
        ),
    ),
    Chapter(
        Vocabulary.CALENDAR,
        "agents",
        "column",
        (
            place("agents.id", "agents.id", "as text: ids here are UUIDs, not numbers", HUB),
            place(
                "agents.user_id", "agents.user_id", "as stored", "the user whose device the agent works on"
            ),
            place(
                "agents.agent_id",
                "agents.external_id agents.id",
                "`external_id`, or the agent's own id where it has none",
                PATCH_AGENT,
            ),
            place("agents.claw_identifier", "agents.instance_id", "`instance_id`, or empty", PATCH_AGENT),
            place(
                "agents.status",
                "agent_states.connectivity agent_states.availability",
                "by the rules of AgentStatus above",
                "PATCH of `status`, as its values say",
            ),
            place(
                "agents.last_heartbeat",
                "agent_states.last_heartbeat_at",
                "as stored",
                "heartbeats of the device",
            ),
            place(
                "agents.exhausted_at",
                "agent_states.exhausted_at",
                "as stored",
                "the move that makes it exhausted",
            ),
            place(
                "agents.recovery_at",
                "agent_states.recovery_at",
                "as stored; the hub acts on it: at that time the agent is available",
                "PATCH of `recovery_at` with or after `status`; else what the provider said",
            ),
            place(
                "agents.exhaust_reason",
                "agent_states.exhaust_reason",
                "by the rules of ExhaustReason above",
                "PATCH of `exhaust_reason` with or after `status`; else what the provider said",
            ),
            place("agents.created_at", "agents.created_at", "as stored", HUB),
            place(
                "agents.user",
                "agents.user_id",
                "`user` of GET /v1/agents/{name}: the name of the user",
                "the user whose device the agent works on",
            ),
        ),
    ),
    Chapter(
        Vocabulary.CALENDAR,
        "agents",
        "constraint",
        (
            place("agents primary key (id)", "agents.id", "kept", HUB),
            place(
                "agents.user_id unique",
                "",
                "not kept: a user has as many agents as wanted; their names are unique for the user",
                "each agent belongs to exactly one user, which is the half that the calendar needs",
            ),
            place("agents.user_id foreign key users.id", "agents.user_id", "kept, ON DELETE CASCADE", HUB),
            place(
                "agents.agent_id unique",
                "agents.external_id",
                "kept: UNIQUE, NULL where it has none",
                PATCH_AGENT,
            ),
            place(
                "agents not null (user_id, agent_id, claw_identifier, status)",
                "agents.user_id agent_states.connectivity agent_states.availability",
                "`user_id` and the axes are NOT NULL; the other two are told from what there is",
                "a write of null is refused",
            ),
            place(
                "agents.status default idle",
                "agent_states.availability agent_states.connectivity",
                "a new agent is available, and offline until its device connects",
                "the hub, when the agent is made",
            ),
        ),
    ),
    Chapter(
        Vocabulary.CALENDAR,
        "agents",
        "index",
        (
            place("ix agents.id", "agents.id", "the primary key", HUB),
            place("ix agents.user_id", "agents.user_id", "the index of UNIQUE (user_id, name)", HUB),
            place("ix agents.agent_id", "agents.external_id", "the index of its UNIQUE", HUB),
        ),
    ),
)
