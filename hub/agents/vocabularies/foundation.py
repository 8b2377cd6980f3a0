"""Names of the foundation seed: configs, states, capabilities and metrics of agents."""

from typing import Final

from hub.agents.vocabularies.places import (
    CAPABILITY,
    CONFIG,
    HUB,
    METRIC,
    NO_TYPE,
    RUN_START,
    Chapter,
    place,
    same,
    words,
)
from protocol.vocabularies import FOUNDATION_STATUS, Vocabulary

FOUNDATION: Final = (
    Chapter(Vocabulary.FOUNDATION, "AgentStatusDetail", "value", words(FOUNDATION_STATUS)),
    Chapter(
        Vocabulary.FOUNDATION,
        "ConfigType",
        "value",
        same(
            "ConfigType",
            "agent_configs.config_type",
            "string integer float boolean json",
            "as stored",
            CONFIG,
        ),
    ),
    Chapter(
        Vocabulary.FOUNDATION,
        "MetricType",
        "value",
        same("MetricType", "metric_series.metric_type", "counter gauge histogram", "as stored", METRIC),
    ),
    Chapter(
        Vocabulary.FOUNDATION,
        "agent_configs",
        "column",
        (
            place("agent_configs.id", "agent_configs.agent_id agent_configs.config_key", "both, joined", HUB),
            *(
                place(f"agent_configs.{column}", f"agent_configs.{column}", "as stored", written)
                for column, written in (
                    ("agent_id", CONFIG),
                    ("config_key", CONFIG),
                    ("config_value", f"{CONFIG}; parsed by its type when it is written"),
                    ("config_type", CONFIG),
                    ("description", CONFIG),
                    ("created_at", HUB),
                    ("updated_at", HUB),
                )
            ),
        ),
    ),
    Chapter(
        Vocabulary.FOUNDATION,
        "agent_states",
        "column",
        (
            place("agent_states.id", "agent_states.agent_id", "one row for each agent, so its id", HUB),
            place("agent_states.agent_id", "agent_states.agent_id", "as stored", HUB),
            place(
                "agent_states.current_status",
                "agent_states.health agent_states.availability",
                "by the rules of AgentStatusDetail above",
                "PATCH of `current_status`, as its values say",
            ),
            place(
                "agent_states.active_workflows",
                "runs.state runs.id",
                "ids of the live runs; a list of its own could contradict them",
                RUN_START,
            ),
            place(
                "agent_states.locks",
                "agent_locks.resource agent_locks.agent_id",
                "an object by name: holder, fence, since, until",
                "`locks.acquire` and `locks.release` of a device, and runs: a list would lose updates",
            ),
            place(
                "agent_states.last_activity",
                "agent_states.last_activity_at",
                "as stored",
                "moves of the agent and of its runs",
            ),
            place(
                "agent_states.resource_usage",
                "agent_states.resource_usage",
                "as stored",
                "heartbeats of the device",
            ),
            place(
                "agent_states.metadata",
                "agent_states.metadata",
                "as stored",
                "PATCH of `metadata`: replaces it",
            ),
            place(
                "agent_states.created_at",
                "agents.created_at",
                "as stored: the state is made with its agent",
                HUB,
            ),
            place("agent_states.updated_at", "agent_states.updated_at", "as stored", HUB),
        ),
    ),
    Chapter(
        Vocabulary.FOUNDATION,
        "agent_capabilities",
        "column",
        (
            place(
                "agent_capabilities.id",
                "agent_capabilities.agent_id agent_capabilities.name",
                "both with the version, joined",
                HUB,
            ),
            place("agent_capabilities.agent_id", "agent_capabilities.agent_id", "as stored", CAPABILITY),
            place("agent_capabilities.capability_name", "agent_capabilities.name", "as stored", CAPABILITY),
            place(
                "agent_capabilities.capability_version",
                "agent_capabilities.ver_major agent_capabilities.ver_minor agent_capabilities.ver_patch"
                " agent_capabilities.prerelease",
                "the four, joined",
                CAPABILITY,
            ),
            *(
                place(f"agent_capabilities.{column}", f"agent_capabilities.{column}", "as stored", written)
                for column, written in (
                    ("enabled", CAPABILITY),
                    ("config", CAPABILITY),
                    ("description", CAPABILITY),
                    ("created_at", HUB),
                    ("updated_at", HUB),
                )
            ),
        ),
    ),
    Chapter(
        Vocabulary.FOUNDATION,
        "agent_metrics",
        "column",
        (
            place(
                "agent_metrics.id", "metric_series.id", "of the series: samples are added up in buckets", HUB
            ),
            place("agent_metrics.agent_id", "metric_series.agent_id", "as stored", METRIC),
            place("agent_metrics.metric_name", "metric_series.name", "as stored", METRIC),
            place(
                "agent_metrics.metric_value",
                "agent_metrics.last",
                "the newest sample; older ones are in the buckets",
                METRIC,
            ),
            place("agent_metrics.metric_type", "metric_series.metric_type", "as stored", METRIC),
            place("agent_metrics.tags", "metric_series.tags", "as stored", METRIC),
            place("agent_metrics.recorded_at", "agent_metrics.last_at", "of the newest sample", METRIC),
        ),
    ),
    Chapter(
        Vocabulary.FOUNDATION,
        "all tables",
        "constraint",
        (
            place(
                "uq_agent_config",
                "agent_configs.agent_id agent_configs.config_key",
                "kept: the primary key",
                CONFIG,
            ),
            place(
                "agent_configs.agent_id foreign key ON DELETE CASCADE", "agent_configs.agent_id", "kept", HUB
            ),
            place("agent_states.agent_id unique", "agent_states.agent_id", "kept: the primary key", HUB),
            place(
                "agent_states.agent_id foreign key ON DELETE CASCADE", "agent_states.agent_id", "kept", HUB
            ),
            place(
                "uq_agent_capability",
                "agent_capabilities.agent_id agent_capabilities.name agent_capabilities.enabled",
                "kept for the enabled version: the seed speaks of several versions and allows one row",
                CAPABILITY,
            ),
            place(
                "agent_capabilities.agent_id foreign key ON DELETE CASCADE",
                "agent_capabilities.agent_id",
                "kept",
                HUB,
            ),
            place(
                "agent_metrics.agent_id foreign key ON DELETE CASCADE", "metric_series.agent_id", "kept", HUB
            ),
            place("enum configtype", "agent_configs.config_type", NO_TYPE, HUB),
            place("enum agentstatusdetail", "agent_states.health agent_states.availability", NO_TYPE, HUB),
            place("enum metrictype", "metric_series.metric_type", NO_TYPE, HUB),
        ),
    ),
    Chapter(
        Vocabulary.FOUNDATION,
        "all tables",
        "index",
        (
            place("idx_agent_config_agent", "agent_configs.agent_id", "the primary key begins with it", HUB),
            place(
                "idx_agent_config_key",
                "agent_configs.config_key",
                "none: configs are read by their agent",
                HUB,
            ),
            place(
                "idx_agent_config_agent_key",
                "agent_configs.agent_id agent_configs.config_key",
                "the primary key",
                HUB,
            ),
            place("idx_agent_state_agent", "agent_states.agent_id", "the primary key", HUB),
            place(
                "idx_agent_state_status",
                "agent_states.availability",
                "agent_states_recovery, of the exhausted ones; no other status is searched for",
                HUB,
            ),
            place(
                "idx_agent_state_activity", "agent_states.last_activity_at", "none: nobody asks by it", HUB
            ),
            place(
                "idx_agent_cap_agent", "agent_capabilities.agent_id", "the primary key begins with it", HUB
            ),
            place(
                "idx_agent_cap_name",
                "agent_capabilities.name",
                "none: capabilities are read by their agent",
                HUB,
            ),
            place(
                "idx_agent_cap_enabled", "agent_capabilities.enabled", "agent_capabilities_one_enabled", HUB
            ),
            place(
                "idx_agent_cap_agent_name",
                "agent_capabilities.agent_id agent_capabilities.name",
                "the primary key begins with them",
                HUB,
            ),
            place(
                "idx_agent_metric_agent",
                "metric_series.agent_id",
                "the UNIQUE of a series begins with it",
                HUB,
            ),
            place(
                "idx_agent_metric_name",
                "metric_series.name",
                "the UNIQUE of a series has it after the agent",
                HUB,
            ),
            place("idx_agent_metric_recorded", "agent_metrics.bucket_at", "agent_metrics_at", HUB),
            place(
                "idx_agent_metric_agent_name",
                "metric_series.agent_id metric_series.name",
                "the UNIQUE of a series begins with them",
                HUB,
            ),
            place(
                "idx_agent_metric_agent_recorded",
                "agent_metrics.series_id agent_metrics.bucket_at",
                "the primary key, for each series",
                HUB,
            ),
        ),
    ),
)
