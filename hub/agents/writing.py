"""Changes of agents: over the API, by hub.toml and by devices; and delivery of configs to their devices.

Changes of agents' configs by operators and devices, validated and audited.

Delivery of agents' configurations to their devices. A device with the capability ``agent.config`` gets the
configuration of each of its agents when it connects, and again whenever an agent's ``config_rev`` has grown.
The configuration is read when it can be sent, so a slow device gets the newest, and no queue builds up.

Status moves of agents, reported as one log event each after their commit.

People follow these events (``GET /v1/events``), and devices subscribe to them.
"""

import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import anyio
import msgspec
from anyio.abc import TaskStatus

from hub.agents.prompts import BadPrompt, problems_in
from hub.agents.schemas import BadSchema, check_agent, check_schema, problems_of
from hub.base.clock import Clock, IdFactory, now_ms
from hub.base.log import Channel, learn_names
from hub.base.metrics import Metrics
from hub.base.periodic_loop import Rounds
from hub.links.device_events import DeviceEvents
from hub.links.roster import DeviceLink, Roster
from hub.settings.limit_settings import Limits
from protocol.agent_status import AgentMoved, Lifecycle
from protocol.coordination import EventName
from protocol.frame import Values
from protocol.ids import AgentId, DeviceId, NodeId, TemplateId, UserId
from storage import audit
from storage.agents import agent_snapshot, agents, config_changes, declared_agents
from storage.agents.agent_snapshot import EffectiveConfig, Setup, TemplateRow, WrittenTemplate
from storage.agents.agents import AgentFields, AgentRow
from storage.agents.config_changes import (
    Broken,
    ConfigLimits,
    ConfigOfFile,
    ConfigsChanged,
    NewConfig,
)
from storage.agents.declared_agents import AgentLimits, DeclaredAgent
from storage.audit import Entry
from storage.connectors import connectors
from storage.connectors.connectors import DeclaredConnector, Reconciled
from storage.coordination import gateways
from storage.coordination.gateways import DeclaredGateway
from storage.devices import devices
from storage.effects import agent_changes, declaring
from storage.effects.agent_changes import Writing
from storage.store import Connection, Store

log = Channel(__name__)

EDITED_AS: Final = {"device_name": "device", "own_prompt": "prompt"}  # names of fields in the interface
# Executes a write of an agent in a transaction.
Through: TypeAlias = Callable[[Callable[[Connection], AgentRow]], Awaitable[AgentRow]]


class Verdict(msgspec.Struct, frozen=True):
    """Preview of writing a template: its problems, and the agents that it would break."""

    wrong: tuple[str, ...] = ()
    broken: tuple[Broken, ...] = ()


class AgentWriter:
    """Writer of the API's agents and templates.

    Attributes:
        limits, config_limits: limits on agents, templates and configs.
        on_change: called after a change, because schedules, limits or devices may be affected.
    """

    def __init__(self, store: Store, *, clock: Clock, ids: IdFactory, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self.limits = AgentLimits()
        self.config_limits = ConfigLimits()
        self.on_change: Callable[[], None] = lambda: None

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
            audit.audited(agent_changes.make_agent, _entry(writing, "agent.created", "device_name")),
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
            audit.audited(agent_changes.remove_agent, lambda removed: entry(removed[0])),
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
    ) -> config_changes.Put:
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

        def entry(put: config_changes.Put) -> Entry | None:
            if not put.is_changed:
                return None
            event = "template.created" if put.is_new else "template.changed"
            broken = ", ".join(one.name for one in put.broken) or None
            detail = {"version": put.template.version, "broken": broken}
            return Entry(at=at, actor=actor, event=event, subject=put.template.name, detail=detail)

        with self._metrics.count_limits():
            put = await self._store.write(
                audit.audited(config_changes.put_template, entry),
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
        entry = Entry(at=at, actor=actor, event="template.removed", subject=name)
        removed = await self._store.write(
            audit.audited(config_changes.remove_template, lambda _: entry), name
        )
        log.info("template.removed", template=name, actor=actor)
        return removed

    async def judge_template(self, template: WrittenTemplate) -> Verdict:
        """Return a preview of writing *template*; writes nothing."""
        try:
            _check(template)
        except (BadSchema, BadPrompt) as error:
            return Verdict(wrong=(str(error),))
        broken = await self._store.read(config_changes.judge, template, problems_of)
        return Verdict(broken=tuple(broken))

    async def judge_stored(self, name: str) -> Verdict:
        """Return the preview for a stored template. Raises UnknownTemplate."""
        return await self.judge_template((await self._store.read(agent_snapshot.get_template, name)).written)

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
        self.on_change()


def _check(template: WrittenTemplate) -> None:
    check_schema(template.configuration_schema, template.default_configuration)
    if wrong := problems_in(template.prompt_template or "", None):
        raise BadPrompt("; ".join(wrong))


def _edit(c: Connection, agent_id: AgentId, *, writing: Writing, **options: Any) -> AgentRow:
    """Edit an agent, with an audit entry that names the changed fields."""
    before = _fields(agents.get_agent(c, agent_id))
    done = agent_changes.edit_agent(c, agent_id, writing=writing, **options)
    detail = {"agent": done.name, **audit.changed(before, _fields(done))}
    entry = Entry(at=writing.at, actor=writing.actor, event="agent.edited", subject=done.id, detail=detail)
    audit.append_entry(c, entry)
    return done


def _fields(row: AgentRow) -> dict[str, object]:
    names = (*AgentFields.__struct_fields__, "device_name", "template", "schedule", "own_prompt")
    return {EDITED_AS.get(name, name): getattr(row, name) for name in names}


def _entry(writing: Writing, event: str, *names: str) -> Callable[[AgentRow], Entry]:
    """Return a function that makes the audit entry of an agent; *names* are further attributes."""

    def entry(row: AgentRow) -> Entry:
        details = {"agent": row.name, **{name.removesuffix("_name"): getattr(row, name) for name in names}}
        return Entry(at=writing.at, actor=writing.actor, event=event, subject=row.id, detail=details)

    return entry


MAX_KEYS: Final = 20  # in the audit log; the history has all keys


_Job = Callable[..., ConfigsChanged]  # function of the store that takes the agent's id


class AgentConfigs:
    """Changes configs of agents.

    Attributes:
        limits: limits on the configs of an agent.
        on_change: called with each agent whose configs were changed.
        line_of: returns where hub.toml declares a config, by agent, user and key: ``hub.toml:12``.
    """

    def __init__(self, store: Store, *, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self.limits = ConfigLimits()
        self.on_change: Callable[[AgentRow], None] = lambda _: None
        self.line_of: Callable[[str, str, str], str] = lambda *_: "hub.toml"

    async def change(
        self,
        agent: AgentRow,
        puts: Sequence[NewConfig] = (),
        *,
        drops: Collection[str] = (),
        replaces: bool = False,
        expected_rev: int | None = None,
        actor: str,
    ) -> ConfigsChanged:
        """Write and remove configs in one transaction. See ``storage.agents.config_changes.change``.

        Raises:
            CodedError, ConfigOfFile, LimitReached, BadConfig,
                CodedError (BAD_CONFIG): nothing was written.
        """
        job = partial(config_changes.change, puts=puts, drops=drops, replaces=replaces)
        return await self._carry_out(job, agent, expected_rev=expected_rev, actor=actor)

    async def revert(
        self, agent: AgentRow, *, to: int, expected_rev: int | None = None, actor: str
    ) -> ConfigsChanged:
        """Restore the configs as they were after the change numbered *to*; 0 is before the first.

        Raises:
            CodedError (UNKNOWN_CONFIG): the history no longer has the change; nothing was written.
            CodedError, LimitReached, CodedError: as for ``change``.
        """
        job = partial(config_changes.revert, to=to)
        return await self._carry_out(job, agent, expected_rev=expected_rev, actor=actor)

    async def _carry_out(
        self, job: _Job, agent: AgentRow, *, expected_rev: int | None, actor: str
    ) -> ConfigsChanged:
        at = now_ms(self._clock)

        def entry(done: ConfigsChanged) -> Entry | None:
            if not done.keys:
                return None
            detail: dict[str, str | int] = {
                "agent": agent.name,
                "keys": ", ".join(done.keys[:MAX_KEYS]),
                "rev": done.rev,
            }
            if len(done.keys) > MAX_KEYS:
                detail["more"] = len(done.keys) - MAX_KEYS
            return Entry(at=at, actor=actor, event="agent.configured", subject=agent.id, detail=detail)

        try:
            with self._metrics.count_limits():
                done = await self._store.write(
                    audit.audited(job, entry),
                    agent.id,
                    at=at,
                    actor=actor,
                    expected_rev=expected_rev,
                    limits=self.limits,
                    check=check_agent,
                )
        except ConfigOfFile as declared:
            names = {row.id: row.name for row in await self._store.read(devices.list_users)}
            where = self.line_of(agent.name, names.get(agent.user_id, ""), declared.key)
            raise ConfigOfFile(declared.key, where) from None
        if done.keys:
            log.info("agent.configured", agent_id=agent.id, rev=done.rev, changed=len(done.keys), actor=actor)
            self.on_change(agent)
        return done


AT_ONCE: Final = 20  # agents per read
RETRY_S: Final = 1.0  # for a device that does not read, and after a database error
POLL_S: Final = 5.0  # interval if other hubs share the database, because they cannot notify this hub


class ConfigDelivery:
    """Delivery of each revision of agents' configurations, once per connection."""

    def __init__(self, store: Store, *, roster: Roster, events: DeviceEvents, clock: Clock) -> None:
        self.turns = Rounds(clock)
        self._store = store
        self._roster = roster
        self._events = events
        self._clock = clock
        self._due: set[DeviceId] = set()
        self._sent: dict[DeviceId, tuple[DeviceLink, dict[AgentId, int]]] = {}

    def check(self, device_id: DeviceId) -> None:
        """Check the agents of a device after its connection or a change. Returns at once."""
        if self._events.is_subscribed(device_id, EventName.AGENT_CONFIG):
            self._due.add(device_id)
            self.turns.wake()

    def changed(self, agent: AgentRow) -> None:
        """Check the agent's configuration after a possible change. Returns at once."""
        if agent.device_id is not None:
            self.check(agent.device_id)

    def recheck(self) -> None:
        """Check the agents of all devices after a change of hub.toml or a template. Returns at once."""
        self._due.update(self._events.subscribers(EventName.AGENT_CONFIG))
        self.turns.wake()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Deliver changed configurations until cancelled."""
        task_status.started()
        await self.turns.serve(self._deliver, of="config delivery", every_s=RETRY_S)

    async def _deliver(self) -> float | None:
        """Deliver to the devices that are due. Return the seconds until the next retry or poll."""
        if self._store.is_shared:
            self._due.update(self._events.subscribers(EventName.AGENT_CONFIG))
        due, self._due = self._due, set()
        for device_id in due:
            try:
                await self._bring(device_id)
            except Exception as exc:  # the other devices are delivered to all the same
                log.error("agent.config_undelivered", exc=exc, device_id=device_id)
                self._due.add(device_id)
        return RETRY_S if self._due else POLL_S if self._store.is_shared else math.inf

    async def _bring(self, device_id: DeviceId) -> None:
        link = self._roster.find(device_id)
        if link is None or not self._events.is_subscribed(device_id, EventName.AGENT_CONFIG):
            return
        if len(self._sent) >= 2 * len(self._roster) + 64:  # most of them are disconnected
            self._sent = {id: sent for id, sent in self._sent.items() if self._roster.find(id) is sent[0]}
        known, sent = self._sent.get(device_id, (None, {}))
        if known is not link:
            sent = {}
        now = await self._store.read(agent_snapshot.revisions_on, device_id)
        self._sent[device_id] = (link, {id: rev for id, rev in sent.items() if id in now})
        others = [agent_id for agent_id, rev in now.items() if sent.get(agent_id) != rev]
        for start in range(0, len(others), AT_ONCE):
            part = others[start : start + AT_ONCE]
            if not await self._send(device_id, part):
                self._due.add(device_id)
                return

    async def _send(self, device_id: DeviceId, agent_ids: Sequence[AgentId]) -> bool:
        """Send the configurations of these agents. Return False if the device does not read."""
        for one in await self._store.read(agent_snapshot.effective, agent_ids):
            if not self._events.has_room(device_id):
                return False
            if not self._events.queue(device_id, EventName.AGENT_CONFIG, config_values(one)):
                return self._roster.find(device_id) is None
            self._sent[device_id][1][one.agent_id] = one.rev
        return True


def config_values(one: EffectiveConfig) -> Values:
    """Return an agent's configuration in the form sent to devices."""
    return {"agent_id": one.agent_id, "rev": one.rev, "configuration": one.configuration}


async def reconcile(
    store: Store,
    declared: Sequence[DeclaredAgent],
    *,
    user_id: UserId,
    clock: Clock,
    ids: IdFactory,
    templates: Sequence[WrittenTemplate] = (),
    declared_gateways: Sequence[DeclaredGateway] | None = None,
    declared_connectors: Sequence[DeclaredConnector] | None = None,
    force: bool = True,
    entries: Sequence[Entry] = (),
    most_per_user: int | None = None,
    node_id: NodeId | None = None,
    also: Callable[[Connection], None] | None = None,
) -> Reconciled:
    """Update the rows to match all declarations, in one transaction.

    Args:
        declared_gateways, declared_connectors: None to leave them unchanged.
        force: True to put agents that violate their template into the error state; False to refuse.
        entries: audit entries, written in the same transaction.
        most_per_user: limit on the agents of a user; None: not checked.
        node_id: node with the declarations; what other nodes on a shared database declare stays.
        also: further writes of the transaction.

    Raises:
        NameTaken: a name is used by an agent created over the API.
        TooManyDeclared: a user would have too many agents.
        UnknownTemplate, CodedError, WouldBreak, RemoteIdTaken, UnknownConnector: see
            ``declaring.take_up``.

    If an error is raised, nothing was changed.
    """
    at = now_ms(clock)
    named = [agent.user_name for agent in declared if agent.user_name is not None]
    named += [gateway.user_name for gateway in declared_gateways or ()]
    named += [connector.user_name for connector in declared_connectors or ()]
    for name in await store.read(devices.not_made_yet, named):
        log.warning("user.named_first", user=name)
    count = declared_agents.IDS_PER_AGENT * len(declared) + len(templates)
    count += gateways.IDS_PER_GATEWAY * len(declared_gateways or ())
    count += connectors.IDS_PER_CONNECTOR * len(declared_connectors or ())
    fresh = [ids.fresh() for _ in range(count)]
    taken_up = await store.write(
        declaring.take_up,
        user_id=user_id,
        declared=list(declared),
        at=at,
        fresh_ids=fresh,
        templates=list(templates),
        declared_gateways=declared_gateways,
        declared_connectors=declared_connectors,
        check=problems_of,
        force=force,
        entries=entries,
        most_per_user=most_per_user,
        node_id=node_id if store.is_shared else None,
        also=also,
    )
    learn_names(await store.read(agents.names_of_agents))
    done = taken_up.agents
    log.info(
        "agents.reconciled",
        created=len(done.created),
        updated=len(done.updated),
        revived=len(done.revived),
        archived=len(done.archived),
    )
    if taken_up.gateways is not None:
        log.info("gateways.reconciled", **_counted(taken_up.gateways))
    if taken_up.connectors is not None:
        log.info("connectors.reconciled", **_counted(taken_up.connectors))
    for put in taken_up.templates:
        log.info("template.declared", template=put.template.name, version=put.template.version)
    for template in taken_up.let_go:
        log.info("template.let_go", template=template.name)
    for broken in taken_up.broken:
        log.warning("agent.broken", agent_id=broken.agent_id, reason="; ".join(broken.wrong))
    for run_id in taken_up.followed:
        log.info("run.followed", run_id=run_id)
    for run_id in taken_up.orphaned:
        log.info("run.orphaned", run_id=run_id)
    for happened, names in (
        ("created", done.created),
        ("updated", done.updated),
        ("revived", done.revived),
        ("archived", done.archived),
    ):
        for name in names:
            await store.write(
                audit.record,
                id=ids.fresh(),
                at=at,
                event_type=f"agent.{happened}",
                message=f"Agent {name} was {happened} from hub.toml",
                actor=declaring.ACTOR,
            )
    return done


def _counted(found: msgspec.Struct) -> dict[str, int]:
    return {how: len(names) for how, names in msgspec.structs.asdict(found).items()}


class Moves:
    """Listeners to agents' moves, in addition to the log."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[AgentMoved], None]] = []

    def listen(self, listener: Callable[[AgentMoved], None]) -> None:
        """Register a callback for every subsequent move; it must not wait."""
        self._listeners.append(listener)

    def publish(self, moves: Sequence[AgentMoved]) -> None:
        """Log the moves and pass them to the listeners; see ``storage.store.ObservedDatabase``."""
        for move in moves:
            log.info(
                "agent.moved",
                agent_id=move.agent_id,
                axis=str(move.axis),
                before=move.before,
                after=move.after,
                reason=move.reason,
                actor=move.actor,
            )
        for move in moves:
            for listener in self._listeners:
                listener(move)
