"""Conversion of agents, templates, gateways and connectors of hub.toml to database declarations."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec
from semver import Version

from hub.settings.agent_settings import (
    AgentSettings,
    CapabilitySettings,
    ScheduleTable,
    SlotTable,
    TemplateSettings,
    TriggerTable,
)
from hub.settings.connector_settings import ConnectorSettings
from hub.settings.settings import Settings
from protocol.agent_types import kind_of
from protocol.configs import type_of
from protocol.requirements import parse_version
from protocol.secret_rules import RedactionRule
from storage.agents.capabilities import AgentCapability
from storage.agents.config_changes import NewConfig
from storage.agents.configs import Mailbox, ModelUse
from storage.agents.declared_agents import DeclaredAgent
from storage.agents.templates import WrittenTemplate
from storage.connectors.connectors import BOUND, DeclaredConnector
from storage.coordination.gateways import DeclaredGateway
from storage.kernel.columns import struct_from
from storage.schedules.schedule_rows import DeclaredSchedule

NANOS: Final = 1_000_000_000  # of a US dollar


def declared_agents(settings: Settings) -> list[DeclaredAgent]:
    """Convert the agents of hub.toml to their rows."""
    run_wall_s, patterns = settings.limits.run_wall_s, settings.redaction.patterns
    return [declared_agent(agent, run_wall_s=run_wall_s, patterns=patterns) for agent in settings.agents]


def declared_gateways(settings: Settings) -> list[DeclaredGateway]:
    """Convert the gateways of hub.toml to their rows, which contain neither address nor token."""
    return [
        DeclaredGateway(name=gateway.name, user_name=gateway.user, main_agent=gateway.main_agent)
        for gateway in settings.gateways
    ]


def declared_connectors(settings: Settings) -> list[DeclaredConnector]:
    """Convert the connectors of hub.toml to their rows, which contain no secret or reference to a secret."""
    return [_declared_connector(connector, settings.plugins.connectors) for connector in settings.connectors]


def _declared_connector(connector: ConnectorSettings, plugins: Collection[str]) -> DeclaredConnector:
    # Imported here: most settings have no connectors.
    from hub.connectors.catalogue import UnknownProvider, find
    from hub.connectors.connector import Auth

    document = connector.model_dump_json(exclude={"name", "user"}).encode()
    declared = DeclaredConnector(name=connector.name, user_name=connector.user, provider=connector.provider)
    try:
        kind = find(connector.provider, plugins, connector.settings, connector.folder)
    except UnknownProvider as error:
        return msgspec.structs.replace(declared, problem=str(error))
    options = kind.settings_model.model_validate(connector.settings)
    way = kind.oauth(options)
    addresses = () if way is None else (way.authorize_url, way.token_url, way.device_url, way.revoke_url)
    bound = (connector.provider, sorted(kind.origins(options)), addresses, list(options.protection()))
    return msgspec.structs.replace(
        declared,
        origin=f"{kind.origin(options)}{BOUND}{hashlib.sha256(repr(bound).encode()).hexdigest()[:16]}",
        settings_digest=hashlib.sha256(document + kind.revision.encode()).hexdigest(),
        needs_grant=way is not None or (kind.auth is Auth.PASSWORD and connector.secret is None),
    )


def declared_templates(settings: Settings) -> list[WrittenTemplate]:
    """Convert the templates of hub.toml to their rows."""
    return [written_template(template) for template in settings.templates]


def written_template(template: TemplateSettings) -> WrittenTemplate:
    """Convert a template to its row."""
    kind = kind_of(template.type)
    return WrittenTemplate(
        name=template.name,
        description=template.description,
        agent_type=kind.type,
        subtype=kind.subtype,
        configuration_schema=dict(template.configuration_schema),
        default_configuration=dict(template.default_configuration),
        prompt_template=template.prompt,
    )


def declared_agent(
    agent: AgentSettings, *, run_wall_s: float, patterns: Mapping[str, str] = MappingProxyType({})
) -> DeclaredAgent:
    """Convert an agent of hub.toml to its row.

    Args:
        run_wall_s: time limit of a run whose schedule has none, in seconds.
        patterns: patterns of ``[redaction]``; any other name is one of the hub's own patterns.
    """
    schedule, kind = agent.schedule, None if agent.type is None else kind_of(agent.type)
    connector, budget = agent.connector, agent.budget_usd
    return struct_from(
        DeclaredAgent,
        agent,
        user_name=agent.user,
        device_name=agent.device,
        paths=agent.paths or (),
        data_types=agent.data_types or (),
        mailbox=connector and Mailbox(connector=connector, filter=dict(agent.filter), push=agent.push),
        prompt=agent.prompt or "",
        type=kind and kind.type,
        subtype=kind and kind.subtype,
        capabilities=declared_capabilities(agent.capabilities),
        schedule=schedule and _declared_schedule(schedule, agent.timezone, run_wall_s),
        slots=tuple(_declared_slot(slot, agent.timezone) for slot in agent.slots),
        config=tuple(
            NewConfig(key=key, value=value, type=type_of(value)) for key, value in agent.config.items()
        ),
        model_use=ModelUse(
            allow_cloud=agent.allow_cloud,
            outside=agent.outside,
            redact=tuple(RedactionRule(name, patterns.get(name)) for name in agent.redact),
            batch=agent.batch,
            budget_nanos=None if budget is None else round(budget * NANOS),
            learn=agent.learn,
        ),
    )


def _declared_schedule(schedule: ScheduleTable, timezone: str, run_wall_s: float) -> DeclaredSchedule:
    return msgspec.structs.replace(
        _declared_trigger(schedule, timezone),
        start_deadline_ms=_ms(schedule.start_deadline_s),
        run_timeout_ms=round((schedule.run_timeout_s or run_wall_s) * 1_000),
        max_attempts=schedule.max_attempts,
        pause_after_failures=schedule.pause_after_failures,
        on_first_connect=schedule.on_first_connect,
    )


def _declared_slot(slot: SlotTable, timezone: str) -> DeclaredSchedule:
    trigger = _declared_trigger(slot, timezone)
    duration_ms = round(slot.duration_s * 1_000)
    window_ms = trigger.catchup_window_ms  # a slot that is over wakes no agent
    return msgspec.structs.replace(
        trigger,
        action="wake",
        label=slot.label,
        duration_ms=duration_ms,
        catchup_window_ms=duration_ms if window_ms is None else window_ms,
    )


def _declared_trigger(schedule: TriggerTable, timezone: str) -> DeclaredSchedule:
    return DeclaredSchedule(
        kind=schedule.kind,
        expr=schedule.cron,
        every_ms=_ms(schedule.every_s),
        at_ms=None if schedule.at is None else round(schedule.at.timestamp() * 1_000),
        tz=timezone,
        overlap=schedule.overlap,
        coalesce="latest" if schedule.catch_up == "none" else schedule.catch_up,
        catchup_window_ms=0 if schedule.catch_up == "none" else _ms(schedule.catch_up_window_s),
        max_catchup=schedule.max_catch_up,
        jitter_ms=round(schedule.jitter * 1_000),
    )


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1_000)


def declared_capabilities(written: Sequence[CapabilitySettings]) -> tuple[AgentCapability, ...]:
    """Convert capabilities to their rows; without an explicit choice, the newest version is enabled."""
    parsed = [(capability, parse_version(capability.version)) for capability in written]
    chosen: dict[str, Version] = {}
    for capability, version in sorted(parsed, key=lambda pair: (pair[0].enabled is True, pair[1])):
        if capability.enabled is not False:
            chosen[capability.name] = version  # the last wins: the explicitly enabled one, else the newest
    return tuple(
        AgentCapability(
            name=capability.name,
            version=version,
            enabled=chosen.get(capability.name) == version,
            config=capability.config,
            description=capability.description,
        )
        for capability, version in parsed
    )
