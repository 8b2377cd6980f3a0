"""Set-up of agents: the values that prompts may name and templates validate, read at once.

A function passed in decides whether a set-up is valid: this module knows rows, but neither JSON Schema nor
prompts.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId, DeviceId, TemplateId
from storage import schema
from storage.agents import agent_configs, configs, templates
from storage.agents.agent_rows import UnknownAgent
from storage.agents.templates import WrittenTemplate
from storage.kernel.columns import in_parts
from storage.schema import agents

VARIABLE: Final = "{{"  # marks a prompt with variables


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """Set-up of an agent.

    Attributes:
        user, device: their names; *device* is empty for an agent without a device.
        prompt: its own prompt; empty: its template's.
        configs: its own configs by key, without those that the hub itself uses.
    """

    name: str
    user: str
    device: str
    timezone: str
    data_types: tuple[str, ...]
    prompt: str
    template: WrittenTemplate | None = None
    configs: Mapping[str, Any] = {}

    @property
    def configuration(self) -> dict[str, Any]:
        """Its configs over the defaults of its template, key by key: nested tables are not merged."""
        defaults = {} if self.template is None else self.template.default_configuration
        return {**defaults, **self.configs}

    @property
    def prompt_in_use(self) -> str:
        """Prompt of the agent, else of its template."""
        return self.prompt or (self.template and self.template.prompt_template) or ""


Check: TypeAlias = Callable[[Setup], Sequence[str]]  # returns the problems, in words; must be pure


class BadConfiguration(HubError):
    """Error: the agent violates its template's schema, or its prompt names an unknown variable.

    The message lists all problems; nothing was written.
    """

    code = ErrorCode.BAD_CONFIG


_SETUPS = (
    sa.select(
        agents.c.id,
        agents.c.name,
        schema.users.c.name.label("user"),
        schema.devices.c.name.label("device"),
        agents.c.data_types,
        agents.c.prompt_template.label("prompt"),
        agents.c.template_id,
        agent_configs.COLUMNS["timezone"],
    )
    .join_from(agents, schema.users)
    .outerjoin(schema.devices, schema.devices.c.id == agents.c.device_id)
)
SETUPS = (
    agent_configs.with_configs(_SETUPS)
    .where(agents.c.id.in_(sa.bindparam("listed", expanding=True)))
    .order_by(agents.c.name, agents.c.id)
)
PRESENT_WITH_TEMPLATE = (
    sa.select(agents.c.id)
    .where(agents.c.template_id == sa.bindparam("template"), agents.c.deleted_at.is_(None))
    .order_by(agents.c.name, agents.c.id)
)


TO_JUDGE = sa.select(agents.c.id).where(
    agents.c.deleted_at.is_(None),
    sa.or_(agents.c.template_id.is_not(None), agents.c.prompt_template.like(f"%{VARIABLE}%")),
)


def setup_of(c: sa.Connection, agent_id: AgentId) -> Setup:
    """Return the set-up of the agent.

    Raises:
        KeyError: no agent has the id.
        UnreadableConfig: a config of the agent is unreadable for this release.
    """
    return setups_of(c, [agent_id])[agent_id]


def setups_of(c: sa.Connection, agent_ids: Iterable[AgentId]) -> dict[AgentId, Setup]:
    """Return the set-ups of these agents, in the order of their names.

    Raises:
        UnreadableConfig: a config of an agent is unreadable for this release.
    """
    wanted = list(agent_ids)
    known = templates.templates_by_id(c) if wanted else {}
    found: dict[AgentId, Setup] = {}
    for part in in_parts(wanted):
        own = configs.configurations_of(c, part)
        for row in c.execute(SETUPS, {"listed": part}):
            id = AgentId(row.id)
            found[id] = Setup(
                name=row.name,
                user=row.user,
                device=row.device or "",
                timezone=agent_configs.read_config("timezone", row.timezone),
                data_types=tuple(row.data_types),
                prompt=row.prompt or "",
                template=None if row.template_id is None else known.get(TemplateId(row.template_id)),
                configs=own.get(id, {}),
            )
    return found


def setups_with(c: sa.Connection, template_id: TemplateId) -> dict[AgentId, Setup]:
    """Return the set-ups of the agents with that template that are not archived."""
    ids = [AgentId(id) for id in c.execute(PRESENT_WITH_TEMPLATE, {"template": template_id}).scalars()]
    return setups_of(c, ids)


def setups_to_judge(c: sa.Connection) -> dict[AgentId, Setup]:
    """Return the set-ups that can be invalid: of agents with a template, or variables in the prompt."""
    return setups_of(c, [AgentId(id) for id in c.execute(TO_JUDGE).scalars()])


def check_setup(
    c: sa.Connection, agent_id: AgentId, configs: Mapping[str, Any] | None = None, *, check: Check
) -> None:
    """Validate the agent's set-up in the transaction that changes it.

    Args:
        configs: future configs of the agent; by default its current ones.

    Raises:
        BadConfiguration: the set-up is invalid; the caller must roll back.
    """
    setup = setup_of(c, agent_id)
    if configs is not None:
        setup = msgspec.structs.replace(setup, configs=configs)
    if wrong := check(setup):
        raise BadConfiguration(f"agent {setup.name}: {'; '.join(wrong)}")


class EffectiveConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Effective configuration of an agent. *rev*: its ``config_rev``, which grows with each change."""

    agent_id: AgentId
    rev: int
    configuration: dict[str, Any]


REVISIONS = sa.select(agents.c.id, agents.c.config_rev)
REVISIONS_OF = REVISIONS.where(agents.c.id.in_(sa.bindparam("listed", expanding=True)))
REVISIONS_ON = REVISIONS.where(
    agents.c.device_id == sa.bindparam("device"), agents.c.deleted_at.is_(None)
).order_by(agents.c.id)


def revisions_on(c: sa.Connection, device_id: DeviceId) -> dict[AgentId, int]:
    """Return the ``config_rev`` of each agent of a device that is not archived."""
    return {AgentId(row.id): row.config_rev for row in c.execute(REVISIONS_ON, {"device": device_id})}


def effective(c: sa.Connection, agent_ids: Sequence[AgentId]) -> list[EffectiveConfig]:
    """Return the effective configurations of these agents; unknown ids are omitted.

    Raises:
        UnreadableConfig: a config that the hub itself uses is unreadable for this release.
    """
    revisions: dict[AgentId, int] = {}
    for part in in_parts(agent_ids):
        revisions |= {AgentId(row.id): row.config_rev for row in c.execute(REVISIONS_OF, {"listed": part})}
    found = setups_of(c, revisions)
    return [
        EffectiveConfig(agent_id=agent_id, rev=revisions[agent_id], configuration=setup.configuration)
        for agent_id, setup in found.items()
    ]


def effective_of(c: sa.Connection, agent_id: AgentId) -> EffectiveConfig:
    """Return the effective configuration of an agent.

    Raises:
        UnknownAgent: no agent has the id.
        UnreadableConfig: as ``effective``.
    """
    found = effective(c, [agent_id])
    if not found:
        raise UnknownAgent(f"there is no agent {agent_id}")
    return found[0]
