"""Creation, change and removal of agents and templates by people and devices: rules and audit entries."""

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Final, TypeAlias

import msgspec

from hub.agents.prompts import BadPrompt, problems_in
from hub.agents.schemas import BadSchema, check_schema, problems_of
from hub.base.clock import Clock, IdFactory, now_ms
from hub.base.log import Channel, learn_names
from hub.base.metrics import Metrics
from hub.base.toml.limits import Limits
from protocol.agent_status import Lifecycle
from protocol.ids import AgentId, TemplateId, UserId
from storage import audit
from storage.agents import agent_snapshot, agents
from storage.agents import template_changes as agents_template_changes
from storage.agents import templates as agents_templates
from storage.agents.agent_snapshot import Setup
from storage.agents.agents import AgentFields, AgentRow
from storage.agents.config_changes import ConfigLimits
from storage.agents.declared_agents import AgentLimits, DeclaredAgent
from storage.agents.template_changes import Broken
from storage.agents.templates import TemplateRow, WrittenTemplate
from storage.audit import AuditEntry
from storage.effects import agent_changes as effects_agent_changes
from storage.effects.agent_changes import Writing
from storage.store import Connection, Store

log = Channel(__name__)

EDITED_AS: Final = {"device_name": "device", "own_prompt": "prompt"}  # names of fields in the interface
# Executes a write of an agent in a transaction.
Through: TypeAlias = Callable[[Callable[[Connection], AgentRow]], Awaitable[AgentRow]]


class TemplateCheck(msgspec.Struct, frozen=True):
    """Preview of writing a template: its problems, and the agents that it would break."""

    wrong: tuple[str, ...] = ()
    broken: tuple[Broken, ...] = ()


class AgentWriter:
    """Writer of the API's agents and templates.

    Args:
        on_change: called after a change, because schedules, limits or devices may be affected.

    Attributes:
        limits, config_limits: limits on agents, templates and configs.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        ids: IdFactory,
        metrics: Metrics,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self.limits = AgentLimits()
        self.config_limits = ConfigLimits()
        self._on_change = on_change

    def apply(self, limits: Limits) -> None:
        """Use new limits of hub.toml."""
        self.limits = msgspec.structs.replace(self.limits, agents_per_user=limits.agents_per_user)

    async def make(
        self,
        agent: DeclaredAgent,
        *,
        user_id: UserId,
        lifecycle: Lifecycle = Lifecycle.ACTIVE,
        may_rename: bool = False,
        actor: str,
        through: Through | None = None,
    ) -> AgentRow:
        """Create an agent of the user. See ``declared_agents.make_agent`` for its errors.

        Args:
            through: executes the write, together with others; by default it is a transaction of its own.
        """
        writing = self._writing(actor)
        make = partial(
            audit.audited(effects_agent_changes.make_agent, _entry(writing, "agent.created", "device_name")),
            agent=agent,
            user_id=user_id,
            fresh_id=AgentId(self._ids.fresh()),
            fresh_schedule_id=self._ids.fresh(),
            lifecycle=lifecycle,
            may_rename=may_rename,
            writing=writing,
        )
        with self._metrics.count_limits():
            made = await (through or self._store.write)(make)
        learn_names({made.id: made.name})
        self._publish("created", [made.id], actor)
        return made

    async def edit(
        self,
        agent_id: AgentId,
        agent: DeclaredAgent,
        *,
        revision: int | None = None,
        replaces_config: bool = False,
        actor: str,
        through: Through | None = None,
    ) -> AgentRow:
        """Replace an agent's settings by *agent*. See ``declared_agents.edit_agent`` for its errors.

        Args:
            through: as for ``make``.
        """
        writing = self._writing(actor)
        edit = partial(
            _edit,
            agent_id=agent_id,
            agent=agent,
            fresh_schedule_id=self._ids.fresh(),
            revision=revision,
            replaces_config=replaces_config,
            writing=writing,
        )
        done = await (through or self._store.write)(edit)
        self._publish("updated", [done.id], actor)
        return done

    async def remove(self, agent_id: AgentId, *, actor: str) -> AgentRow:
        """Remove an agent and cancel its waiting runs. See ``declared_agents.remove_agent``."""
        writing = self._writing(actor)
        entry = _entry(writing, "agent.removed")
        agent, cancelled = await self._store.write(
            audit.audited(effects_agent_changes.remove_agent, lambda removed: entry(removed[0])),
            agent_id,
            writing=writing,
        )
        self._publish("removed", [agent.id], actor)
        for run_id in cancelled:
            log.info("run.orphaned", run_id=run_id)
        return agent

    async def problems(self, agent_id: AgentId) -> tuple[str, ...]:
        """Return the problems of the agent's current configuration and prompt; writes nothing."""
        return tuple(problems_of(await self._store.read(agent_snapshot.setup_of, agent_id)))

    def judge(self, setup: Setup) -> tuple[str, ...]:
        """Return the problems that an agent with this setup would have."""
        return tuple(problems_of(setup))

    async def put_template(
        self,
        template: WrittenTemplate,
        *,
        force: bool = False,
        version: int | None = None,
        actor: str,
    ) -> agents_template_changes.TemplateWrite:
        """Write a template of the API.

        Args:
            force: True to put agents that violate it into the error state.
            version: expected current version; None for any.

        Raises:
            BadSchema, BadPrompt: the template is invalid.
            TemplateOfFile, CodedError, WouldBreak: see ``config_changes``.

        If an error is raised, nothing was written.
        """
        _check(template)
        at = now_ms(self._clock)

        def entry(put: agents_template_changes.TemplateWrite) -> AuditEntry | None:
            if not put.is_changed:
                return None
            event = "template.created" if put.is_new else "template.changed"
            broken = ", ".join(agent.name for agent in put.broken) or None
            detail = {"version": put.template.version, "broken": broken}
            return AuditEntry(at=at, actor=actor, event=event, subject=put.template.name, detail=detail)

        with self._metrics.count_limits():
            put = await self._store.write(
                audit.audited(agents_template_changes.put_template, entry),
                template,
                fresh_id=TemplateId(self._ids.fresh()),
                at=at,
                actor=actor,
                check=problems_of,
                force=force,
                version=version,
                most=self.limits.templates,
            )
        if put.is_changed:
            log.info("template.put", template=template.name, version=put.template.version, actor=actor)
            self._publish("updated", put.agents, actor)
        return put

    async def remove_template(self, name: str, *, actor: str) -> TemplateRow:
        """Remove a template without agents. See ``config_changes.remove_template``."""
        at = now_ms(self._clock)
        entry = AuditEntry(at=at, actor=actor, event="template.removed", subject=name)
        removed = await self._store.write(
            audit.audited(agents_template_changes.remove_template, lambda _: entry), name
        )
        log.info("template.removed", template=name, actor=actor)
        return removed

    async def judge_template(self, template: WrittenTemplate) -> TemplateCheck:
        """Return a preview of writing *template*; writes nothing."""
        try:
            _check(template)
        except (BadSchema, BadPrompt) as error:
            return TemplateCheck(wrong=(str(error),))
        broken = await self._store.read(agents_template_changes.judge, template, problems_of)
        return TemplateCheck(broken=tuple(broken))

    async def judge_stored(self, name: str) -> TemplateCheck:
        """Return the preview for a stored template. Raises UnknownTemplate."""
        return await self.judge_template(
            (await self._store.read(agents_templates.get_template, name)).written
        )

    def _writing(self, actor: str) -> Writing:
        return Writing(
            at=now_ms(self._clock),
            actor=actor,
            check=problems_of,
            limits=self.limits,
            config_limits=self.config_limits,
        )

    def _publish(self, change: str, agent_ids: Iterable[AgentId], actor: str) -> None:
        for agent_id in agent_ids:
            log.info("agent.changed", agent_id=agent_id, change=change, actor=actor)
        self._on_change()


def _check(template: WrittenTemplate) -> None:
    check_schema(template.configuration_schema, template.default_configuration)
    if wrong := problems_in(template.prompt_template or "", None):
        raise BadPrompt("; ".join(wrong))


def _edit(c: Connection, agent_id: AgentId, *, writing: Writing, **options: Any) -> AgentRow:
    """Edit an agent, with an audit entry that names the changed fields."""
    before = _fields(agents.get_agent(c, agent_id))
    done = effects_agent_changes.edit_agent(c, agent_id, writing=writing, **options)
    detail = {"agent": done.name, **audit.changed(before, _fields(done))}
    entry = AuditEntry(
        at=writing.at, actor=writing.actor, event="agent.edited", subject=done.id, detail=detail
    )
    audit.append_entry(c, entry)
    return done


def _fields(row: AgentRow) -> dict[str, object]:
    names = (*AgentFields.__struct_fields__, "device_name", "template", "schedule", "own_prompt")
    return {EDITED_AS.get(name, name): getattr(row, name) for name in names}


def _entry(writing: Writing, event: str, *names: str) -> Callable[[AgentRow], AuditEntry]:
    """Return a function that makes the audit entry of an agent; *names* are further attributes."""

    def entry(row: AgentRow) -> AuditEntry:
        details = {"agent": row.name, **{name.removesuffix("_name"): getattr(row, name) for name in names}}
        return AuditEntry(at=writing.at, actor=writing.actor, event=event, subject=row.id, detail=details)

    return entry
