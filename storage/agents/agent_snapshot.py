"""Set-up of agents (configs, template, board) as prompts use it, and filters of agent lists.

A set-up has the values that prompts may name and templates validate. A function passed in decides whether it
is valid: this module knows rows, but neither JSON Schema nor prompts.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import msgspec
import sqlalchemy as sa

from protocol.agent_status import Axis
from protocol.agent_types import AgentKind
from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, BoardId, DeviceId, GatewayId, RunId, TemplateId
from protocol.requirements import Requirement
from protocol.status_vocabularies import Vocabulary
from storage import schema
from storage.agents import capabilities, configs, locks
from storage.agents.agent_states import AgentState, find_state, states_of
from storage.agents.agents import AgentRow, missing_for_runs, spell_missing
from storage.agents.configs import Mailbox
from storage.agents.locks import LockRow
from storage.agents.status_sql import AXES_OF_AGENTS, words_in_sql
from storage.agents.templates import TemplateRow, WrittenTemplate, list_templates
from storage.kernel.columns import (
    columns_of,
    in_parts,
    readable,
    reader,
    struct_from,
)
from storage.kernel.database import UnreadableRow, lone
from storage.schedules.schedule_rows import REMOVED
from storage.schema import agents, devices, schedules, users

VARIABLE: Final = "{{"  # marks a prompt with variables


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """Set-up of an agent.

    Attributes:
        user, device: their names; *device* is empty for an agent without a device.
        prompt: its own prompt; empty: its template's.
        configs: its own configs by key, without those that the hub itself uses.
        has_schedule, has_slots, has_runs: schedules of runs, slots that wake it, runs that have not ended.
    """

    name: str
    user: str
    device: str
    timezone: str
    data_types: tuple[str, ...]
    prompt: str
    template: WrittenTemplate | None = None
    configs: Mapping[str, Any] = {}
    paths: tuple[str, ...] = ()
    mailbox: Mailbox | None = None
    has_schedule: bool = False
    has_slots: bool = False
    has_runs: bool = False

    @property
    def configuration(self) -> dict[str, Any]:
        """Its configs over the defaults of its template, key by key: nested tables are not merged."""
        defaults = {} if self.template is None else self.template.default_configuration
        return {**defaults, **self.configs}

    @property
    def prompt_in_use(self) -> str:
        """Prompt of the agent, else of its template."""
        return self.prompt or (self.template and self.template.prompt_template) or ""

    @property
    def missing_for_runs(self) -> tuple[str, ...]:
        """Names of the settings without which no run of the agent can start."""
        return missing_for_runs(self.device, self.paths, self.mailbox, self.data_types, self.prompt_in_use)

    @property
    def problems(self) -> tuple[str, ...]:
        """Problems of schedules, slots and runs that miss a setting of the agent."""
        found = []
        if missing := self.missing_for_runs:
            words = spell_missing(missing)
            if self.has_schedule:
                found.append(f"schedule: its runs cannot start without {words}")
            elif self.mailbox is not None and self.mailbox.push:
                found.append(f"push: its runs cannot start without {words}")
            elif self.has_runs:
                found.append(f"it has runs that have not ended, and they need {words}; cancel them first")
        if self.has_slots and not self.device:
            found.append(f"slots: nothing can wake it without {spell_missing(['device'])}")
        return tuple(found)


# Problems of keys of a configuration, as their checks spell them.
_OF_CONFIG: Final = re.compile(
    r"configuration: \$(?>(?:\.(?P<key>[^.:\[\s]++))?)[^:\s]*+: (?P<what>.+)", re.DOTALL
)
_MISSING: Final = re.compile(r"missing: (?P<keys>\S+(?:, \S+)*)")
Check: TypeAlias = Callable[[Setup], Sequence[str]]  # returns the problems, in words; must be pure


_is_declared = sa.and_(
    schedules.c.agent_id == agents.c.id,
    sa.or_(schedules.c.enabled, schedules.c.paused_reason != REMOVED),
)
_has_schedule = sa.exists().where(_is_declared, schedules.c.action == "run")
_has_slots = sa.exists().where(_is_declared, schedules.c.action == "wake")
_has_runs = sa.exists().where(schema.runs.c.agent_id == agents.c.id, sa.text(f"runs.{schema.LIVE}"))
_SETUPS = (
    sa.select(
        agents.c.id,
        agents.c.name,
        users.c.name.label("user"),
        devices.c.name.label("device"),
        agents.c.data_types,
        agents.c.prompt_template.label("prompt"),
        agents.c.template_id,
        *(configs.COLUMNS[key] for key in ("timezone", "paths", "mailbox")),
        _has_schedule.label("has_schedule"),
        _has_slots.label("has_slots"),
        _has_runs.label("has_runs"),
    )
    .join_from(agents, users)
    .outerjoin(devices, devices.c.id == agents.c.device_id)
)


def setup_of(c: sa.Connection, agent_id: AgentId) -> Setup:
    """Return the set-up of the agent.

    Raises:
        CodedError (UNKNOWN_AGENT): no agent has the id.
        UnreadableRow: its row, or a config that the hub itself uses, cannot be read.
    """
    for row, own, known in _setup_rows(c, [agent_id]):
        return _setup(row, own, known)
    raise CodedError(ErrorCode.UNKNOWN_AGENT, f"there is no agent {agent_id}")


def setups_of(c: sa.Connection, agent_ids: Iterable[AgentId]) -> dict[AgentId, Setup]:
    """Return the set-ups of these agents, in the order of their names, without unreadable ones."""
    found = readable(lambda pair: (AgentId(pair[0].id), _setup(*pair)), _setup_rows(c, agent_ids))
    return dict(found)


_Templates: TypeAlias = Mapping[TemplateId, TemplateRow]


def _setup_rows(
    c: sa.Connection, agent_ids: Iterable[AgentId]
) -> Iterator[tuple[Any, dict[str, Any], _Templates]]:
    """Return the row of each agent, its own configs, and all templates."""
    requested = list(agent_ids)
    known = {row.id: row for row in list_templates(c)} if requested else {}
    for part in in_parts(requested):
        own = configs.configurations_of(c, part)
        query = (
            configs.with_configs(_SETUPS).where(agents.c.id.in_(part)).order_by(agents.c.name, agents.c.id)
        )
        for row in c.execute(query):
            yield row, own.get(AgentId(row.id), {}), known


@reader
def _setup(row: Any, own: dict[str, Any], known: _Templates) -> Setup:
    setup = struct_from(
        Setup,
        row,
        device=row.device or "",
        timezone=configs.read_config("timezone", row.timezone),
        prompt=row.prompt or "",
        configs=own,
        paths=configs.read_config("paths", row.paths),
        mailbox=configs.read_config("mailbox", row.mailbox),
    )
    template = None if row.template_id is None else known.get(TemplateId(row.template_id))
    return msgspec.structs.replace(setup, template=template)


def setups_with(c: sa.Connection, template_id: TemplateId) -> dict[AgentId, Setup]:
    """Return the set-ups of the agents with that template that are not archived."""
    query = (
        sa.select(agents.c.id)
        .where(agents.c.template_id == template_id, agents.c.deleted_at.is_(None))
        .order_by(agents.c.name, agents.c.id)
    )
    ids = [AgentId(id) for id in c.execute(query).scalars()]
    return setups_of(c, ids)


def setups_to_judge(c: sa.Connection) -> dict[AgentId, Setup]:
    """Return the set-ups that can be invalid.

    Those of agents with a template, with variables in the prompt, or with runs and a missing setting.
    """
    has_nothing_to_read = sa.and_(
        agents.c.executor == "device",
        sa.func.coalesce(configs.COLUMNS["paths"].element, "[]") == "[]",
    )
    is_incomplete = sa.or_(
        agents.c.device_id.is_(None),
        agents.c.data_types == [],
        agents.c.prompt_template.is_(None),
        has_nothing_to_read,
    )
    has_runs = sa.or_(_has_schedule, _has_slots, _has_runs, agents.c.executor == "connector")
    query = configs.with_configs(sa.select(agents.c.id)).where(
        agents.c.deleted_at.is_(None),
        sa.or_(
            agents.c.template_id.is_not(None),
            agents.c.prompt_template.like(f"%{VARIABLE}%"),
            sa.and_(is_incomplete, has_runs),
        ),
    )
    return setups_of(c, [AgentId(id) for id in c.execute(query).scalars()])


def check_setup(
    c: sa.Connection, agent_id: AgentId, configs: Mapping[str, Any] | None = None, *, check: Check
) -> None:
    """Validate the agent's set-up in the transaction that changes it.

    Args:
        configs: future configs of the agent; by default its current ones.

    Raises:
        CodedError (BAD_CONFIG): the set-up is invalid; the caller must roll back.
    """
    setup = setup_of(c, agent_id)
    if configs is not None:
        setup = msgspec.structs.replace(setup, configs=configs)
    if wrong := check(setup):
        raise _bad_configuration(setup.name, wrong)


class EffectiveConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Effective configuration of an agent. *rev*: its ``config_rev``, which grows with each change."""

    agent_id: AgentId
    rev: int
    configuration: dict[str, Any]
    paths: tuple[str, ...] = ()


REVISIONS = sa.select(agents.c.id, agents.c.config_rev)


@lone
def revisions_on(c: sa.Connection, device_id: DeviceId) -> dict[AgentId, int]:
    """Return the ``config_rev`` of each agent of a device that is not archived."""
    query = REVISIONS.where(agents.c.device_id == device_id, agents.c.deleted_at.is_(None)).order_by(
        agents.c.id
    )
    return {AgentId(row.id): row.config_rev for row in c.execute(query)}


def effective(c: sa.Connection, agent_ids: Sequence[AgentId]) -> list[EffectiveConfig]:
    """Return the effective configurations of these agents; unknown ids are omitted.

    Raises:
        UnreadableConfig: a config that the hub itself uses is unreadable for this release.
    """
    revisions: dict[AgentId, int] = {}
    for part in in_parts(agent_ids):
        query = REVISIONS.where(agents.c.id.in_(part))
        revisions |= {AgentId(row.id): row.config_rev for row in c.execute(query)}
    found = setups_of(c, revisions)
    return [
        EffectiveConfig(
            agent_id=agent_id,
            rev=revisions[agent_id],
            configuration=setup.configuration,
            paths=setup.paths,
        )
        for agent_id, setup in found.items()
    ]


def effective_of(c: sa.Connection, agent_id: AgentId) -> EffectiveConfig:
    """Return the effective configuration of an agent.

    Raises:
        CodedError (UNKNOWN_AGENT): no agent has the id.
        UnreadableConfig: as ``effective``.
    """
    found = effective(c, [agent_id])
    if not found:
        raise CodedError(ErrorCode.UNKNOWN_AGENT, f"there is no agent {agent_id}")
    return found[0]


class BoardOfAgent(msgspec.Struct, frozen=True):
    """Place of an agent among boards and gateways, as far as it has one.

    Attributes:
        gateway_id: of the gateway where the agent lives.
        board_gateway_id: of the gateway whose main agent serves the board.
    """

    id: AgentId
    board_id: BoardId | None
    board: str | None
    board_gateway_id: GatewayId | None
    board_created_at: int | None
    gateway_id: GatewayId | None
    session_key: str | None


class AgentRelations(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about an agent, apart from the rows that it has many of.

    Attributes:
        configuration: its configs over the defaults of its template.
        live_runs: ids, oldest first.
        locks: locks that its runs or its device hold for it.
        cron: expression of its first cron schedule.
        last_run_at: newest end of a run.
        provider: of the connector that it reads.
        place: its board and its gateway.
    """

    agent: AgentRow
    created_at: int
    updated_at: int
    state: AgentState
    configuration: dict[str, Any]
    locks: tuple[LockRow, ...]
    live_runs: tuple[RunId, ...]
    cron: str | None
    last_run_at: int | None
    provider: str | None
    place: BoardOfAgent


_listed: sa.BindParameter[str] = sa.bindparam("listed", expanding=True)
_newest_end = (
    sa.select(schema.runs.c.completed_at)
    .where(schema.runs.c.agent_id == agents.c.id, schema.runs.c.completed_at.is_not(None))
    .order_by(schema.runs.c.completed_at.desc())
    .limit(1)
    .scalar_subquery()
)
STAMPS = (
    sa.select(
        *(agents.c.id, agents.c.created_at, agents.c.updated_at),
        *(_newest_end.label("last_run_at"), schema.connectors.c.provider),
    )
    .outerjoin_from(agents, schema.connectors, schema.connectors.c.id == agents.c.connector_id)
    .where(agents.c.id.in_(_listed))
)
# Unordered: to sort, SQLite would scan all runs.
LIVE = sa.select(schema.runs.c.agent_id, schema.runs.c.id).where(
    schema.runs.c.agent_id.in_(_listed), sa.text(f"runs.{schema.LIVE}")
)
CRONS = (
    sa.select(schedules.c.agent_id, schedules.c.expr)
    .where(
        schedules.c.agent_id.in_(_listed),
        schedules.c.kind == "cron",
        schedules.c.action == "run",
        schedules.c.enabled,
    )
    .order_by(schedules.c.created_at.desc(), schedules.c.id.desc())
)
PLACES = (
    sa.select(
        *columns_of(
            BoardOfAgent,
            agents,
            schema.board_members,
            schema.gateway_agents,
            board=schema.boards.c.name,
            board_gateway_id=schema.boards.c.gateway_id,
            board_created_at=schema.boards.c.created_at,
        )
    )
    .select_from(agents)
    .outerjoin(schema.board_members, schema.board_members.c.agent_id == agents.c.id)
    .outerjoin(schema.boards, schema.boards.c.id == schema.board_members.c.board_id)
    .outerjoin(schema.gateway_agents, schema.gateway_agents.c.agent_id == agents.c.id)
    .where(agents.c.id.in_(_listed))
)
SOUL = (
    sa.select(schema.soul_versions.c.content)
    .where(
        schema.soul_versions.c.agent_id == sa.bindparam("agent"),
        schema.soul_versions.c.kind != "refused",
    )
    .order_by(schema.soul_versions.c.seq.desc())
    .limit(1)
)


def facts_of(c: sa.Connection, rows: Sequence[AgentRow]) -> list[AgentRelations]:
    """Return the facts about these agents, without those whose state or set-up cannot be read."""
    found: list[AgentRelations] = []
    for part in in_parts([row.id for row in rows]):
        given = {"listed": list(part)}
        stamps = {row.id: row for row in c.execute(STAMPS, given)}
        states, setups = states_of(c, part), setups_of(c, part)
        crons = {row.agent_id: row.expr for row in c.execute(CRONS, given)}  # the first one is the last
        rows_of_places = c.execute(PLACES, given).all()
        places = dict(readable(lambda row: (AgentId(row.id), struct_from(BoardOfAgent, row)), rows_of_places))
        live: dict[str, list[RunId]] = {id: [] for id in part}
        for row in c.execute(LIVE, given):
            live[row.agent_id].append(RunId(row.id))
        held: dict[str, list[LockRow]] = {id: [] for id in part}
        now = locks.database_now(c)
        for lock in locks.list_locks(c, agent_ids=part):
            if lock.holder is not None and lock.holder.agent_id in held and lock.is_held(now):
                held[lock.holder.agent_id].append(lock)
        for agent in rows:
            if not all(agent.id in known for known in (live, states, setups, places)):
                continue
            facts = partial(
                struct_from,
                AgentRelations,
                agent=agent,
                state=states[agent.id],
                configuration=setups[agent.id].configuration,
                locks=tuple(held[agent.id]),
                live_runs=tuple(sorted(live[agent.id])),
                cron=crons.get(agent.id),
                place=places[agent.id],
            )
            found += readable(facts, [stamps[agent.id]])
    return found


def place_of(c: sa.Connection, agent: AgentRow) -> BoardOfAgent | None:
    """Return the place of an agent that is on a board."""
    place = struct_from(BoardOfAgent, c.execute(PLACES, {"listed": [agent.id]}).one())
    return None if place.board_id is None else place


def soul_of(c: sa.Connection, agent_id: AgentId) -> str | None:
    """Return the newest text of an agent's soul that the hub wrote or saw."""
    soul: str | None = c.execute(SOUL, {"agent": agent_id}).scalar_one_or_none()
    return soul


def facts_of_agent(c: sa.Connection, agent: AgentRow) -> AgentRelations:
    """Return the facts about an agent.

    Raises:
        UnreadableRow: its state or set-up cannot be read.
    """
    found = facts_of(c, [agent])
    if not found:
        find_state(c, agent.id)
        setup_of(c, agent.id)
        place_of(c, agent)
        raise UnreadableRow(f"cannot read agent {agent.id}: 'hub migrate verify' names what is broken")
    return found[0]


class AgentFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Filter of agents, each condition of which has to hold.

    Attributes:
        axes: values on axes.
        words: words in status columns of *vocabulary*.
        needed: a capability that the agent itself has; those of its device do not count.
        kind: its type; with a subtype, only agents that have it.
    """

    axes: Mapping[Axis, str] = {}
    vocabulary: Vocabulary = Vocabulary.CALENDAR
    words: Mapping[str, str] = {}
    needed: Requirement | None = None
    kind: AgentKind | None = None
    project_id: str | None = None


def conditions_of(c: sa.Connection, filters: AgentFilter) -> Iterator[sa.ColumnElement[bool]]:
    """Yield the conditions of a filter, for queries that join agents with their states."""
    for axis, value in filters.axes.items():
        yield AXES_OF_AGENTS[axis] == value
    columns = words_in_sql(filters.vocabulary, AXES_OF_AGENTS, agents.c.max_concurrent_runs)
    for column, word in filters.words.items():
        yield columns[column] == word
    if filters.needed is not None:
        yield capabilities.having(c, filters.needed)
    if filters.kind is not None:
        yield agents.c.type == str(filters.kind.type)
        if filters.kind.subtype is not None:
            yield agents.c.subtype == str(filters.kind.subtype)
    if filters.project_id is not None:
        yield agents.c.project_id == filters.project_id


def _bad_configuration(agent: str, problems: Sequence[str]) -> CodedError:
    """Return the error with all problems; its members are the first problem of each key."""
    fields: dict[str, str] = {}
    for problem in problems:
        if (found := _OF_CONFIG.fullmatch(problem)) is not None:
            missing = _MISSING.match(found["what"])
            keys = missing["keys"].split(", ") if found["key"] is None and missing else [found["key"]]
            for key in filter(None, keys):
                fields.setdefault(f"config.{key}", found["what"])
    message = f"agent {agent}: {'; '.join(problems)}"
    return CodedError(ErrorCode.BAD_CONFIG, message, members={"fields": fields} if fields else {})
