"""Routes of board activity: actions of agents and people on a board, from the audit log."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from hub.api.resource import (
    ALL,
    Instant,
    ListPart,
    Resource,
    View,
    command,
    listed,
    tool,
)
from hub.api.resources.agent_status import EventWord, check_event
from hub.base.clock import epoch_ms
from hub.base.roles import Scope
from protocol.errors import ErrorCode
from storage import audit
from storage.agents import agents
from storage.audit import ActivityEntry
from storage.store import Connection, Store


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


class ActivityLogResource(Resource):
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
            "until": "Only entries until then, a day included.",
            "limit": "--limit=50: Maximum number of entries.",
        },
        table=("at|at", "event", "actor", "message"),
        empty="no matching entries",
    )
    @tool()
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
        part: ListPart = ALL,
    ) -> list[ActivityView]:
        """List what happened to agents, messages, questions and schedules, the newest first."""

        def read(c: Connection) -> list[ActivityEntry]:
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
        if not rows:
            check_event(event)
        return [ActivityView.from_row(row, event=row.event_type) for row in rows]
