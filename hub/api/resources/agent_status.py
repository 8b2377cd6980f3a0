"""Routes of an agent's status: reading and changing each axis, and its history."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType, field

from hub.agents.vocabularies import (
    TABLES,
    VocabularyChange,
    bounded_metadata,
    change_of,
    document_of,
    paged_table,
    tables_of,
)
from hub.api.agent_filters import AgentFilters
from hub.api.binding import BodyField, From, bad_request
from hub.api.device import OwnAgent, converted
from hub.api.resource import (
    MAX_LONG,
    Actor,
    Caller,
    Instant,
    ListPage,
    Match,
    Paging,
    Resource,
    View,
    audited,
    command,
    device,
    route,
)
from hub.api.resources.agents import AgentsResource, VocabularyQuery, faults_of, managed
from hub.base.clock import epoch_ms
from hub.base.roles import AUDITED, DEVICE_REQUESTS, Scope, creation_of
from hub.health.issues import Finding
from hub.runs.control import RunControl
from hub.settings.reading import FileLines
from protocol.agent_status import STORED_AXES, Axis, Lifecycle, legal_moves
from protocol.coordination import Method
from protocol.errors import CodedError, ErrorCode
from protocol.grants import Grant
from protocol.ids import AgentId
from protocol.status_vocabularies import EVENT_ALIASES, Vocabulary, words_of
from storage import audit
from storage.agents import agent_snapshot, agent_states, agents
from storage.agents import state_history as agents_state_history
from storage.agents.agent_snapshot import AgentRelations, conditions_of
from storage.agents.agents import AgentRow
from storage.agents.heartbeat_states import Sender
from storage.agents.state_history import AgentMove
from storage.effects.agent_changes import AgentOfFile
from storage.effects.status_writes import StatusWrite
from storage.runs.runs import TASK_CHARACTERS
from storage.store import Connection, Store

_REFUSED = (ErrorCode.BAD_STATUS, ErrorCode.BAD_PARAMS, ErrorCode.MANAGED_BY_FILE)
_SET = (ErrorCode.NAME_TAKEN, ErrorCode.UNKNOWN_DEVICE, ErrorCode.UNKNOWN_TEMPLATE, ErrorCode.BAD_CONFIG)
# Settings of its agents that a device does not change in the words of a vocabulary.
_FIXED: Final = {"device": "a device keeps its agents"} | dict.fromkeys(
    ("connector", "filter"), "a device changes it by agents.update"
)

Word = Annotated[str, Meta(max_length=200, pattern=r"^[!-~]+$(?!\n)")] | None
EventWord = Annotated[
    Word,
    Meta(description="A name of events; ending in a dot: how their names begin, as in ``token.``"),
]

_ALIKE: Final = 0.88  # of names of events: more alike than any two of them


def check_event(event: str | None) -> None:
    """Check that a name of events, or the beginning of one, is not a misspelt one of routes or gateways.

    Raises:
        CodedError: it is.
    """
    whole = {*AUDITED.values(), *(alias.name for alias in EVENT_ALIASES)}
    whole |= {need.event for need in DEVICE_REQUESTS.values()}
    known = whole | {name[: at + 1] for name in whole for at, letter in enumerate(name) if letter == "."}
    if event is not None and event not in known:
        for near in get_close_matches(event, known, 1, _ALIKE):
            raise CodedError(
                ErrorCode.BAD_PARAMS, f"event: no event is named {event!r}; did you mean {near}?"
            )


class AxisView(View):
    """The value of an agent on one axis: since when, why, and who set it.

    *since* is null if the history does not reach back so far. *moves*: the values that it may change to.
    *actor_name*: the name of the actor, as in the audit log.
    """

    value: str
    since: Instant | None = None
    reason: str | None = None
    actor: str | None = None
    moves: tuple[str, ...] = ()
    actor_name: str | None = None


class AgentStatusView(View, kw_only=True):
    """Status of an agent: four axes that are stored, and *activity*, which is derived from its runs.

    *reported_connectivity*: that of its device, while the agent is kept offline; null: it follows its device.
    *recovery_at*: when an exhausted agent recovers; *probe_at*: when the hub checks whether it has, if that
    is unknown. *axes*: of each axis since when and why.
    """

    agent: str
    lifecycle: str
    availability: str
    connectivity: str
    health: str
    activity: str
    reported_connectivity: str | None = None
    health_reason: str | None = None
    state_detail: str | None = None
    exhaust_reason: str | None = None
    exhausted_at: Instant | None = None
    recovery_at: Instant | None = None
    probe_at: Instant | None = None
    runs_waiting: int = 0
    runs_executing: int = 0
    runs_running: int = 0
    max_concurrent_runs: int = 1
    last_heartbeat_at: Instant | None = None
    last_activity_at: Instant
    resource_usage: dict[str, Any]
    metadata: dict[str, Any]
    version: int
    axes: dict[str, AxisView]


class StatusChange(View):
    """Values to change; all others stay. All of it is done, or nothing.

    *connectivity*: ``offline`` keeps the agent offline, whatever its device does; ``online`` ends that.
    """

    refused_keys = {
        "activity": ("it is derived from runs, and not written", "start, pause or cancel runs instead")
    }

    lifecycle: str | None = None
    availability: str | None = None
    connectivity: str | None = None
    health: str | None = None
    reason: Annotated[str, Meta(max_length=1_000, pattern=r"^[^\x00]*$")] | None = None
    exhaust_reason: Literal["rate_limit", "billing"] | UnsetType | None = UNSET
    recovery_at: Instant | UnsetType | None = UNSET
    metadata: dict[str, Any] | None = None


class StatusRequest(VocabularyQuery, frozen=True, kw_only=True):
    """The values that a device sets: those of ``StatusChange``, or columns of the vocabulary."""

    values: Annotated[dict[str, Any], Meta(min_length=1)] = field(name="set")


class AgentMoveView(View):
    """Change of an agent's status on one axis. *snapshot*: its values on all axes after it.

    *actor_name*: the name of the actor's id, as in the audit log.
    """

    seq: int
    at: Instant
    axis: str
    before: str | None
    after: str
    reason: str | None
    actor: str
    snapshot: dict[str, str]
    actor_name: str | None = None


def _filters(
    task_id: Annotated[str, Meta(max_length=TASK_CHARACTERS, description="Only executions for this task.")]
    | None = None,
    state: Annotated[str, Meta(max_length=20, description="Only executions in this state.")] | None = None,
    execution_id: Annotated[str, Meta(max_length=200, description="Only the history of this execution.")]
    | None = None,
    status: Annotated[str, Meta(max_length=20, description="Only runs of this status.")] | None = None,
    event_type: EventWord = None,
) -> dict[str, str]:
    """Return the filters of rows that a request has, by column."""
    given = {
        "task_id": task_id,
        "state": state,
        "execution_id": execution_id,
        "status": status,
        "event_type": event_type,
    }
    return {column: value for column, value in given.items() if value is not None}


RowFilters = Annotated[dict[str, str], From(_filters)]


# Returns the newer one of a sender's last heartbeat and of a stored one, epoch ms.
LastHeartbeat: TypeAlias = Callable[[Sender, int | None], int | None]


class AgentStatusesResource(Resource):
    """Status of agents. *name*: an agent's name or id, or ``external:`` and its external identifier."""

    name, path = "status", "/v1/agents/{name}"
    tagged = ("agent", "version")
    errors = (ErrorCode.UNKNOWN_AGENT,)

    def __init__(
        self,
        *,
        store: Store,
        control: RunControl,
        agents: AgentsResource,
        lines: FileLines | None = None,
        last_heartbeat: LastHeartbeat = lambda _, stored_at: stored_at,
    ) -> None:
        """Create the resource.

        Args:
            agents: writes settings.
            lines: places of agents in hub.toml, for refusals of what is declared there.
        """
        self._store = store
        self._last_heartbeat = last_heartbeat
        self._control = control
        self._agents = agents
        self._lines = lines

    @route("GET", "/status", Scope.READ, is_tagged=True)
    async def get(self, name: str) -> AgentStatusView:
        """Return the status of an agent on each axis: since when, why, and the moves from there."""

        def read(c: Connection) -> tuple[agent_states.StatedAgent, Finding | None, dict[str, str]]:
            status = agent_states.status_called(c, name, self.user_id)
            names = audit.names_of_actors(c, {move.actor for move in status.since.values() if move.actor})
            return status, faults_of(c, self._agents.now_ms, [status.agent_id]).get(status.agent_id), names

        status, fault, names = await self._store.read(read)
        axes = {
            str(axis): AxisView.from_row(
                move, moves=legal_moves(axis, move.value), actor_name=names.get(move.actor or "")
            )
            for axis, move in status.since.items()
        }
        if fault is not None:
            moves = axes["health"].moves
            axes["health"] = AxisView("error", fault.since, fault.explanation, "hub", moves)
        return AgentStatusView.from_row(
            status,
            agent=status.name,
            health=axes["health"].value,
            health_reason=status.health_reason if fault is None else fault.explanation,
            last_heartbeat_at=self._last_heartbeat(
                status.device_id or status.agent_id, status.last_heartbeat_at
            ),
            axes=axes,
        )

    @route("PATCH", "/status", Scope.RUN, errors=_REFUSED)
    @audited("agent.status_set")
    async def change(self, name: str, match: Match, change: StatusChange, actor: Actor) -> AgentStatusView:
        """Move an agent on axes, on all or none. A refusal of a move names those that are possible."""
        version = None
        if match.is_asked:
            now = await self.get(name)
            match.check(self.tag_of(now))
            version = now.version
        changed = await self.write(name, change, version=version, actor=actor)
        match.set_tag(self.tag_of(changed))
        return changed

    async def write(
        self, name: str, change: StatusChange, *, version: int | None = None, actor: str
    ) -> AgentStatusView:
        """Move an agent on axes, on all or none.

        Raises:
            CodedError (CHANGED_MEANWHILE): *version* is given, and not the present one.
        """
        await self._write(await self._agent_called(name), _asked(change, version), actor=actor)
        return await self.get(name)

    @command(
        "agents terminate NAME",
        example="hub agents terminate notes --reason replaced --yes",
        json="agent_status",
        options={"reason": "Reason, for the history."},
        message="agent {name} is terminated; its history stays: hub agents history {name}",
        confirm="terminate agent {name} for good, and cancel its live runs?",
    )
    @route("POST", "/terminate", Scope.RUN, errors=_REFUSED, is_tagged=True)
    @audited("agent.status_set")
    async def terminate(
        self,
        name: str,
        actor: Actor,
        reason: Annotated[
            Annotated[str, Meta(max_length=1_000, pattern=r"^[^\x00]*$")] | None,
            BodyField("Termination", "The reason to terminate an agent.", is_optional=True),
        ] = None,
    ) -> AgentStatusView:
        """End an agent for good: cancel its live runs, remove its schedules, and keep its history."""
        asked = StatusWrite(axes={Axis.LIFECYCLE: Lifecycle.TERMINATED}, reason=reason)
        await self._write(await self._agent_called(name), asked, actor=actor)
        return await self.get(name)

    @command(
        "agents history NAME",
        example="hub agents history notes --limit 20",
        json="agent_history",
        help="List the status changes of an agent, with reason and author, the newest first.",
        options={
            "axis": "Only changes on this axis, as in health.",
            "limit": "--limit=50: Maximum number of changes.",
        },
        rows="moves",
        table=("at|at", "axis", "before as from", "after as to", "reason", "*|by as by"),
        empty="no changes",
    )
    @route("GET", "/history", Scope.READ, page="AgentHistory.moves")
    async def history(
        self,
        name: str,
        paging: Paging,
        axis: Annotated[Axis, Meta(description="Moves on this axis only.")] | None = None,
    ) -> ListPage[AgentMoveView]:
        """List the moves of an agent on its axes, the newest first: when, from where, why, and by whom."""

        def read(c: Connection) -> tuple[list[AgentMove], dict[str, str]]:
            agent = agents.agent_called(c, name, self.user_id)
            limit, after = paging.part.limit, paging.after
            rows = agents_state_history.history_page(c, agent.id, axis=axis, limit=limit, after=after)
            return rows, audit.names_of_actors(c, {row.actor for row in rows})

        rows, names = await self._store.read(read)
        return paging.fetched([_move_view(row, names) for row in rows], key=lambda move: (move.seq,))

    @route("GET", "/as/{vocabulary}", Scope.READ, errors=[ErrorCode.UNKNOWN_NAME])
    async def document(self, name: str, vocabulary: str) -> dict[str, Any]:
        """Return an agent in the terms of a vocabulary.

        Vocabularies are calendar, orchestrator, foundation, runlog and coordination.
        """
        find = partial(agents.agent_called, name=name, user_id=self.user_id)
        return await self._document(words_of(vocabulary), find)

    @route("GET", "/as/{vocabulary}/{table}", Scope.READ, errors=[ErrorCode.UNKNOWN_NAME])
    async def rows(
        self, name: str, vocabulary: str, table: str, paging: Paging, filters: RowFilters
    ) -> dict[str, Any]:
        """Return a page of a table in the terms of a vocabulary, as ``agent_execution`` of the orchestrator.

        A filter that the table does not have is refused: *task_id* and *state* are those of executions,
        *execution_id* that of their history, *status* that of the run log, *event_type* that of activity.
        """
        paging.limit = min(paging.limit, MAX_LONG)
        declared, rows = paged_table(words_of(vocabulary), table, filters)
        agent, found = await self._store.read(
            agents.with_agent, name, self.user_id, rows.read, **paging.part._asdict(), **filters
        )
        page = paging.fetched(found, key=rows.key)
        return {
            table: [declared.document(agent, row) for row in page.items],
            "next_cursor": page.next_cursor,
        }

    @route("PATCH", "/as/{vocabulary}", Scope.RUN, errors=[*_REFUSED, *_SET, ErrorCode.UNKNOWN_NAME])
    @audited("agent.status_set")
    async def change_document(
        self, name: str, vocabulary: str, change: dict[str, Any], caller: Caller
    ) -> dict[str, Any]:
        """Write columns of a vocabulary, as in ``{"status": "on_call"}``, all or none.

        Columns that are as they are read are no change; others that are derived or of the hub are refused.
        Words of the status need the scope *run*, settings the scope *devices*.
        """
        words = words_of(vocabulary)
        agent = await self._agent_called(name)
        asked = await self._asked(agent, words, change)
        if asked.settings and not caller.may(Scope.DEVICES):
            named = ", ".join(asked.columns.values())
            raise CodedError(
                ErrorCode.FORBIDDEN,
                f"{named}: a setting, which needs the scope {Scope.DEVICES.value!r}",
                hint=creation_of(Scope.DEVICES),
            )
        await self._write_document(agent, asked, actor=caller.actor)
        return await self.document(agent.id, vocabulary)

    @device(Method.STATUS_GET, "its own agents")
    async def get_own(self, agent: OwnAgent, asked: VocabularyQuery) -> dict[str, Any]:
        """Return the status of an agent of a device, or its document in the terms of a vocabulary."""
        if asked.vocabulary is not None:
            find = partial(agents.get_agent, id=agent.id)
            return {"agent": await self._document(words_of(asked.vocabulary), find)}
        return {"status": await self._store.read(agent_states.find_state, agent.id)}

    @device(Method.STATUS_SET, "its own agents", Grant.AGENTS)
    @audited("agent.status_set")
    async def set_own(self, agent: OwnAgent, request: StatusRequest, actor: Actor) -> dict[str, Any]:
        """Move an agent of a device on axes, on all or none, also in the terms of a vocabulary."""
        if request.vocabulary is None:
            asked = _asked(converted(request.values, StatusChange, "set"), None)
            await self._control.write_status(agent, asked, actor=actor)
        else:
            change = await self._asked(agent, words_of(request.vocabulary), request.values)
            if fixed := change.columns.keys() & _FIXED:
                raise bad_request([f"set.{change.columns[key]}: {_FIXED[key]}" for key in sorted(fixed)])
            await self._write_document(agent, change, actor=actor)
        return await self.get_own(agent, request)

    async def _document(
        self, words: Vocabulary, find: Callable[[Connection], AgentRow], *, has_tables: bool = True
    ) -> dict[str, Any]:
        def read(c: Connection) -> tuple[AgentRelations, dict[str, Any]]:
            agent = find(c)
            facts = agent_snapshot.facts_of_agent(c, agent)
            return facts, tables_of(c, words, agent) if has_tables else {}

        facts, tables = await self._store.read(read)
        return document_of(words, _with_heartbeat(facts, self._last_heartbeat)) | tables

    async def _asked(self, agent: AgentRow, words: Vocabulary, change: dict[str, Any]) -> VocabularyChange:
        """Return the requested change of an agent, as it is now. Raises BadWrite."""
        find = partial(agents.get_agent, id=agent.id)
        columns = {column.name for column in TABLES[words][0].columns}
        now = await self._document(words, find, has_tables=not change.keys() <= columns)
        return change_of(words, change, now)

    async def _write_document(self, agent: AgentRow, asked: VocabularyChange, *, actor: str) -> None:
        if asked.settings:
            await self._agents.rewrite(agent, asked, actor=actor)
        elif asked.status is not None:
            await self._write(agent, asked.status, actor=actor)

    async def _write(self, agent: AgentRow, asked: StatusWrite, *, actor: str) -> None:
        try:
            await self._control.write_status(agent, asked, actor=actor)
        except AgentOfFile as error:
            if self._lines is None:
                raise
            raise managed(self._lines, error, "name") from error


def _asked(change: StatusChange, version: int | None) -> StatusWrite:
    values: dict[str, Any] = {}
    if change.exhaust_reason is not UNSET:
        values["exhaust_reason"] = change.exhaust_reason
    if change.recovery_at is not UNSET:
        values["recovery_at"] = None if change.recovery_at is None else epoch_ms(change.recovery_at)
    if change.metadata is not None:
        values["metadata"] = bounded_metadata(change.metadata)
    axes = {str(axis): value for axis in STORED_AXES if (value := getattr(change, axis)) is not None}
    return StatusWrite(axes=axes, reason=change.reason, version=version, **values)


def _move_view(row: AgentMove, names: Mapping[str, str]) -> AgentMoveView:
    return AgentMoveView.from_row(
        row,
        before=row.old_value,
        after=row.new_value,
        actor_name=names.get(row.actor),
        snapshot={
            name: value for name, value in msgspec.to_builtins(row.snapshot).items() if value is not None
        },
    )


def _with_heartbeat(facts: AgentRelations, last_heartbeat: LastHeartbeat) -> AgentRelations:
    """Return the facts with the last heartbeat of the agent or its device."""
    at = last_heartbeat(facts.agent.device_id or facts.agent.id, facts.state.last_heartbeat_at)
    return msgspec.structs.replace(facts, state=msgspec.structs.replace(facts.state, last_heartbeat_at=at))


class AgentDocumentsResource(Resource):
    """Agents in the terms of a vocabulary."""

    name, path = "documents", "/v1/agents/as/{vocabulary}"

    def __init__(self, store: Store, last_heartbeat: LastHeartbeat) -> None:
        self._store = store
        self._last_heartbeat = last_heartbeat

    @route("GET", "", Scope.READ, errors=[ErrorCode.UNKNOWN_NAME])
    async def all(self, vocabulary: str, paging: Paging, filters: AgentFilters) -> dict[str, Any]:
        """List the agents in the terms of a vocabulary, by name, without their long tables.

        The parameters are those of the list of agents; *status* and *state_detail* are in the same terms.
        """
        paging.limit = min(paging.limit, MAX_LONG)
        words = words_of(vocabulary)
        filter = filters.filter(words)

        def read(c: Connection) -> tuple[list[AgentRow], dict[AgentId, AgentRelations]]:
            only = conditions_of(c, filter)
            rows = agents.list_agents(c, user_id=self.user_id, only=only, **paging.part._asdict())
            return rows, {facts.agent.id: facts for facts in agent_snapshot.facts_of(c, rows)}

        rows, facts = await self._store.read(read)
        page = paging.fetched(rows, key=lambda row: (row.name, row.id))
        found = [
            _with_heartbeat(facts[row.id], self._last_heartbeat) for row in page.items if row.id in facts
        ]
        return {
            "agents": [document_of(words, snapshot) for snapshot in found],
            "next_cursor": page.next_cursor,
        }
