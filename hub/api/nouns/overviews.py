"""Overviews: an agent with what the other nouns know of it, and its activity."""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from hub.api.door.roles import Scope
from hub.api.noun import ALL, Noun, Part, command, listed, route
from hub.api.nouns.agent_configs import AgentConfigs
from hub.api.nouns.agent_status import AgentStatuses, AgentStatusView
from hub.api.nouns.agents import Agents, AgentView
from hub.api.nouns.audit import EventWord
from hub.api.nouns.capabilities import Capabilities, CapabilityView
from hub.api.nouns.checkpoints import Checkpoints
from hub.api.nouns.costs import Costs, SpendView
from hub.api.nouns.locks import Locks, LockView
from hub.api.nouns.measurements import Measurements
from hub.api.nouns.runs import AskedRuns, Runs, RunView
from hub.api.nouns.schedules import Slots, SlotView
from hub.api.parameters import Hub
from hub.api.view import Instant, View
from hub.clock import epoch_ms
from protocol.errors import ErrorCode
from storage import audit
from storage.agents import agents
from storage.audit import Activity
from storage.store import Connection, Store

NEWEST_RUNS: Final = 5


class CheckpointBrief(View):
    """A checkpoint without its content."""

    scope: str
    sequence: int
    is_recoverable: bool
    updated_at: Instant


class AgentOverview(View):
    """An agent, its state and why, its calendar, its runs, and what it holds, can and remembers.

    *runs* are the newest five; *capabilities* those that are enabled; *locks* those that it holds or
    waits for; *config* the keys of its configuration; *series* the number of its metrics.
    """

    agent: AgentView
    status: AgentStatusView
    slots: tuple[SlotView, ...]
    runs: tuple[RunView, ...]
    locks: tuple[LockView, ...]
    capabilities: tuple[CapabilityView, ...]
    config: tuple[str, ...]
    checkpoints: tuple[CheckpointBrief, ...]
    spend: SpendView
    series: int


class Overviews(Noun):
    """Overviews of agents, made from the other nouns of the hub."""

    name, path = "overviews", "/v1/agents/{name}/overview"
    errors = (ErrorCode.UNKNOWN_AGENT,)

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    @route("GET", "", Scope.READ)
    async def get(self, name: str) -> AgentOverview:
        """Return one agent with its state and why, calendar, runs, locks, abilities and costs."""
        hub, mine = self._hub, self.user_id
        agent = await hub.noun(Agents, mine).get(name)
        configuration = await hub.noun(AgentConfigs, mine).of_agent(name)
        capabilities = await hub.noun(Capabilities, mine).of_agent(name)
        checkpoints = await hub.noun(Checkpoints, mine).all(name)
        return AgentOverview(
            agent=agent,
            status=await hub.noun(AgentStatuses, mine).get(name),
            slots=tuple(await hub.noun(Slots, mine).of_agent(name)),
            runs=tuple(await hub.noun(Runs, mine).newest(AskedRuns(agent=name), Part(NEWEST_RUNS))),
            locks=tuple(await hub.noun(Locks, mine).all(agent=name)),
            capabilities=tuple(one for one in capabilities if one.enabled),
            config=tuple(sorted(configuration.configuration)),
            checkpoints=tuple(CheckpointBrief.from_row(one) for one in checkpoints),
            spend=await hub.noun(Costs, mine).of_agent(name),
            series=len(await hub.noun(Measurements, mine).series(name)),
        )


class ActivityView(View):
    """Entry of the activity log.

    *event*: a stable name; those of coordination are the names of that vocabulary, as ``agent.nudge.sent``.
    *agent_id*: the agent that acted, else the one that it is about; *data*: ids.
    """

    id: str
    at: Instant
    event: str
    level: Literal["debug", "info", "warning", "error"]
    message: str
    actor: str
    agent_id: str | None = None
    run_id: str | None = None
    device_id: str | None = None
    data: dict[str, Any] = {}


class ActivityLog(Noun):
    """The activity log. A user sees entries about agents and devices of that user."""

    name, path = "activity", "/v1/activity"

    def __init__(self, store: Store) -> None:
        self._store = store

    @command(
        "activity",
        example="hub activity --event agent.nudge.",
        json="activity",
        help="List what happened to agents, messages and questions.",
        options={
            "event": "Only this event; 'agent.nudge.' means all events that begin so.",
            "agent": "Only of this agent.",
            "since": "Only entries from then on.",
            "until": "Only entries before.",
            "limit": "--limit=50: Maximum number of entries.",
        },
        table=("at|at", "event", "actor", "message"),
        empty="no matching entries",
    )
    @listed(
        "", Scope.READ, key=lambda entry: (epoch_ms(entry.at), entry.id), errors=[ErrorCode.UNKNOWN_AGENT]
    )
    async def entries(
        self,
        event: EventWord = None,
        agent: Annotated[str, Meta(max_length=200, description="Only of this agent, by name or id.")]
        | None = None,
        since: Instant | None = None,
        until: Instant | None = None,
        part: Part = ALL,
    ) -> list[ActivityView]:
        """List what happened to agents, messages, questions and schedules, the newest first."""

        def read(c: Connection) -> list[Activity]:
            return audit.list_activity(
                c,
                user_id=self.user_id,
                agent_id=None if agent is None else agents.agent_called(c, agent, self.user_id).id,
                event=event,
                since=None if since is None else epoch_ms(since),
                until=None if until is None else epoch_ms(until),
                limit=part.limit,
                after=part.after,
            )

        rows = await self._store.read(read)
        return [ActivityView.from_row(row, event=row.event_type) for row in rows]
