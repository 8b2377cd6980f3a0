"""How an agent is set up: all that its prompt may name and its template judges, read at once.

Whether a set-up is right is decided outside, by a function that comes in: this module
knows rows, and neither JSON Schema nor prompts.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec
import sqlalchemy as sa

from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId, TemplateId
from storage import schema
from storage.agents import agent_configs, configs, templates
from storage.agents.templates import WrittenTemplate
from storage.kernel.columns import in_parts
from storage.schema import agents

VARIABLE: Final = "{{"  # what a prompt with variables has


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of one agent.

    Attributes:
        user, device: their names; *device* is empty where it has none.
        prompt: its own; empty: its template's.
        configs: its own, by key; without those that the hub keeps for itself.
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
        """Its configs over the defaults of its template, key by key: tables are not mixed."""
        defaults = {} if self.template is None else self.template.default_configuration
        return {**defaults, **self.configs}

    @property
    def prompt_in_use(self) -> str:
        """Its own prompt, else that of its template."""
        return self.prompt or (self.template and self.template.prompt_template) or ""


Check: TypeAlias = Callable[[Setup], Sequence[str]]  # what is wrong, in words; pure


class BadConfiguration(HubError):
    """An agent would not be what its template asks for, or its prompt names what is not there.

    The message tells all that is wrong; nothing was written.
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
        *agent_configs.COLUMNS,
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
    """How the agent is set up.

    Raises:
        KeyError: there is no such agent.
        UnreadableConfig: a config of it is not what this release takes it for.
    """
    return setups_of(c, [agent_id])[agent_id]


def setups_of(c: sa.Connection, agent_ids: Iterable[AgentId]) -> dict[AgentId, Setup]:
    """How these agents are set up, in the order of their names.

    Raises:
        UnreadableConfig: a config of one is not what this release takes it for.
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
                timezone=agent_configs.zone_in(row.timezone),
                data_types=tuple(row.data_types),
                prompt=row.prompt or "",
                template=None if row.template_id is None else known.get(TemplateId(row.template_id)),
                configs=own.get(id, {}),
            )
    return found


def setups_with(c: sa.Connection, template_id: TemplateId) -> dict[AgentId, Setup]:
    """How the agents are set up that are made from a template and are not archived."""
    ids = [AgentId(id) for id in c.execute(PRESENT_WITH_TEMPLATE, {"template": template_id}).scalars()]
    return setups_of(c, ids)


def setups_to_judge(c: sa.Connection) -> dict[AgentId, Setup]:
    """How the agents are set up that can be wrong: they have a template, or variables in their prompt."""
    return setups_of(c, [AgentId(id) for id in c.execute(TO_JUDGE).scalars()])


def check_setup(
    c: sa.Connection, agent_id: AgentId, configs: Mapping[str, Any] | None = None, *, check: Check
) -> None:
    """Look at an agent as it stands now, in the transaction that changed it.

    Args:
        configs: what its own configs are going to be; by default what they are.

    Raises:
        BadConfiguration: it may not stand so; the transaction is to end with this.
    """
    setup = setup_of(c, agent_id)
    if configs is not None:
        setup = msgspec.structs.replace(setup, configs=configs)
    if wrong := check(setup):
        raise BadConfiguration(f"agent {setup.name}: {'; '.join(wrong)}")
